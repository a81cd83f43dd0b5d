// Marks in the navigation which section is on the screen.
"use strict";
const links = [...document.querySelectorAll("nav a")];
const sections = links.map((link) => document.getElementById(link.hash.slice(1)));

function markSection() {
  const line = document.querySelector("nav")?.getBoundingClientRect().bottom + 1 || 0;
  const place = sections.findLastIndex((section) => section.getBoundingClientRect().top <= line + 40);
  links.forEach((link, index) => (link.ariaCurrent = index === place ? "true" : null));
  links[0]?.closest("ul").scrollTo({ left: (links[place]?.offsetLeft ?? 0) - 60 }); // on a phone they are wider than it
}

addEventListener("scroll", markSection, { passive: true });
markSection();
