// Progressive help for pages that work without it. One module, no inline script.
import { createAll, Button, CharacterCount, ErrorSummary, NotificationBanner, PasswordInput, SkipLink } from "./govuk-frontend.min.js";

const body = document.body;
if (body && "noModule" in HTMLScriptElement.prototype) {
  body.classList.add("js-enabled", "govuk-frontend-supported");
}
for (const component of [Button, CharacterCount, ErrorSummary, NotificationBanner, PasswordInput, SkipLink]) {
  createAll(component);
}

// What was typed survives a change of language or look: it waits in this tab's session
// storage until the same page is back, and is gone after that. Never passwords or files.
const draft = "tongban.draft:" + location.pathname;
const kept = "input:not([type=password]):not([type=file]):not([type=hidden]), select, textarea";

function fields() {
  return Array.from(document.querySelectorAll(".tb-main form")).flatMap((form) => Array.from(form.querySelectorAll(kept)));
}

for (const link of document.querySelectorAll("[data-preference]")) {
  link.addEventListener("click", () => {
    const values = fields().map((f) => [f.name, f.type, f.checked, f.value]);
    try {
      sessionStorage.setItem(draft, JSON.stringify(values));
    } catch {
      // Storage is off or full: the change of language matters more.
    }
  });
}

function restoreDraft() {
  let values = null;
  try {
    values = JSON.parse(sessionStorage.getItem(draft));
    sessionStorage.removeItem(draft);
  } catch {
    return;
  }
  const now = fields();
  if (!Array.isArray(values) || values.length !== now.length) {
    return;
  }
  now.forEach((f, i) => {
    const [name, type, checked, value] = values[i];
    if (f.name !== name || f.type !== type) {
      return;
    }
    if (type === "radio" || type === "checkbox") {
      f.checked = checked;
    } else {
      f.value = value;
    }
  });
}
restoreDraft();

// The address bar keeps no choice that the cookie already holds, so that going back
// does not undo a later one.
const url = new URL(location.href);
for (const name of ["lang", "theme", "text"]) {
  url.searchParams.delete(name);
}
if (url.href !== location.href) {
  history.replaceState(history.state, "", url);
}

for (const button of document.querySelectorAll("[data-print]")) {
  button.hidden = false;
  button.addEventListener("click", () => window.print());
}

// A button that copies the text beside it, where the browser lets pages do that.
for (const button of document.querySelectorAll("[data-copy]")) {
  if (!navigator.clipboard) {
    continue;
  }
  button.hidden = false;
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(button.dataset.copy);
      button.textContent = button.dataset.copied;
    } catch {
      button.hidden = true; // The text stands beside it.
    }
  });
}
