// A fragment that does not come is said out loud instead of leaving a button that seems dead.

const WORDS = {
  400: "That was too much at once: too large, or more than 20 files.",
  403: "This page has gone stale. Reload it and try again.",
  404: "This is not there any more. Reload the page.",
  413: "That was too large to send.",
};

function say(text) {
  const place = document.getElementById("fault");
  if (!place) return;
  place.textContent = text;
  place.hidden = !text;
  if (text) place.scrollIntoView({ block: "nearest" });
}

document.addEventListener("htmx:responseError", (event) => {
  const status = event.detail.xhr.status;
  say(WORDS[status] ?? `Something went wrong here (${status}). Nothing was charged for this click.`);
});
document.addEventListener("htmx:sendError", () => say("The site cannot be reached. Check the connection; we keep trying."));
document.addEventListener("htmx:afterOnLoad", (event) => { if (event.detail.successful) say(""); });
