// Changes the page's language: what differs between them carries the others as data-CODE or data-CODE-ATTRIBUTE.
"use strict";
const languageButton = document.getElementById("language");
const languages = JSON.parse(languageButton.dataset.languages); // what each calls itself, by its code
const codes = Object.keys(languages);

function changeLanguage(to) {
  const [before, after] = [document.documentElement.lang, to].map((code) => `data-${code.toLowerCase()}`);
  for (const element of document.querySelectorAll(`[${after}]`)) {
    element.setAttribute(before, element.textContent);
    element.textContent = element.getAttribute(after);
  }
  for (const name of ["aria-label", "title"]) {
    for (const element of document.querySelectorAll(`[${after}-${name}]`)) {
      element.setAttribute(`${before}-${name}`, element.getAttribute(name));
      element.setAttribute(name, element.getAttribute(`${after}-${name}`));
    }
  }
  document.documentElement.lang = to;
  languageButton.lang = codes[(codes.indexOf(to) + 1) % codes.length]; // the next one, which it then changes to
  languageButton.textContent = languages[languageButton.lang];
  document.dispatchEvent(new Event("languagechange"));
}

languageButton.hidden = false;
languageButton.addEventListener("click", () => changeLanguage(languageButton.lang));
const [spoken] = navigator.language.split("-");
changeLanguage(codes.find((code) => code.split("-")[0] === spoken) ?? document.documentElement.lang);
