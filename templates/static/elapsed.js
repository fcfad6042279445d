// Counts the seconds of a generation that is being made. The server has the word on everything else.

setInterval(() => {
  for (const place of document.querySelectorAll("[data-elapsed-since]")) {
    const seconds = (Date.now() - Date.parse(place.dataset.elapsedSince)) / 1000;
    place.textContent = `${Math.max(0, Math.floor(seconds))} s`;
  }
}, 1000);
