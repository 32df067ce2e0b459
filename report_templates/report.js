"use strict";
(() => {
  const words = (element) => element.textContent.toLowerCase();
  const filter = document.getElementById("page:filter");
  const query = document.getElementById("page:query");
  const summary = filter.querySelector("output");
  const sites = [...document.querySelectorAll("details.site")];
  const entries = [...document.querySelectorAll("tr.layer, .others tr[id], article.pan")].map((element) => {
    const site = element.closest("details.site");
    const own = element.matches("article") ? element.querySelector("h5") : element;
    const parts = [element.closest(".audit").querySelector("h2"), own];
    if (site) parts.push(site.querySelector("h4"));
    return { element, site, text: parts.map(words).join(" ") };
  });

  const show = () => {
    const wanted = query.value.toLowerCase().split(/\s+/).filter(Boolean);
    const found = new Set();
    let layers = 0;
    let neurons = 0;
    for (const { element, site, text } of entries) {
      const matches = wanted.every((word) => text.includes(word));
      element.hidden = !matches;
      if (!matches) continue;
      if (site) found.add(site);
      if (site) neurons += 1;
      else layers += 1;
    }
    for (const site of sites) {
      site.hidden = !found.has(site);
      if (wanted.length && !("wasOpen" in site.dataset)) site.dataset.wasOpen = site.open ? "1" : "";
      if (wanted.length) site.open = found.has(site);
      else if ("wasOpen" in site.dataset) {
        site.open = site.dataset.wasOpen === "1";
        delete site.dataset.wasOpen;
      }
    }
    summary.textContent = wanted.length ? `${layers} layers, ${neurons} neurons` : "";
  };

  const follow = () => {
    let name = location.hash.slice(1);
    try { name = decodeURIComponent(name); } catch { /* not URL-encoded: use it as it is */ }
    const target = document.getElementById(name);
    if (!target) return;
    if (target.closest("[hidden]")) {
      query.value = "";
      show();
    }
    for (let element = target; element; element = element.parentElement) {
      if (element.tagName === "DETAILS") element.open = true;
    }
    target.scrollIntoView();
  };

  filter.hidden = false;
  query.addEventListener("input", show);
  addEventListener("hashchange", follow);
  addEventListener("beforeprint", () => {
    for (const details of document.querySelectorAll("details")) details.open = true;
  });
  follow();
})();
