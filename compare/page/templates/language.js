// Changes the page's language: whatever has two carries the other one as data-zh or data-zh-ATTRIBUTE.
"use strict";
const languageButton = document.getElementById("language");

function changeLanguage() {
  for (const element of document.querySelectorAll("[data-zh]")) {
    [element.textContent, element.dataset.zh] = [element.dataset.zh, element.textContent];
  }
  for (const name of ["aria-label", "title"]) {
    for (const element of document.querySelectorAll(`[data-zh-${name}]`)) {
      const other = element.getAttribute(`data-zh-${name}`);
      element.setAttribute(`data-zh-${name}`, element.getAttribute(name));
      element.setAttribute(name, other);
    }
  }
  const toChinese = document.documentElement.lang === "en";
  document.documentElement.lang = toChinese ? "zh-Hans" : "en";
  languageButton.lang = toChinese ? "en" : "zh-Hans";
  languageButton.textContent = toChinese ? "English" : "中文";
  document.dispatchEvent(new Event("languagechange"));
}

languageButton.hidden = false;
languageButton.addEventListener("click", changeLanguage);
if (navigator.language.startsWith("zh")) changeLanguage();
