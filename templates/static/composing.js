// Ctrl+Enter (or Cmd+Enter) sends the form. Never while an input method composes: there Enter picks a word.

document.addEventListener("keydown", (event) => {
  const field = event.target;
  if (!(field instanceof HTMLTextAreaElement) || !field.hasAttribute("data-submit-on-ctrl-enter")) return;
  if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey) || event.isComposing) return;
  event.preventDefault();
  const button = field.form?.querySelector("button.primary");
  if (button && !button.disabled) field.form.requestSubmit(button);
});

// Going back to a sent form and sending it again means another image, so the key that says "the same" is renewed.
window.addEventListener("pageshow", (event) => {
  const returned = event.persisted || performance.getEntriesByType("navigation")[0]?.type === "back_forward";
  const key = document.querySelector("#workbench input[name=key]");
  if (!returned || !key) return;
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  key.value = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
});
