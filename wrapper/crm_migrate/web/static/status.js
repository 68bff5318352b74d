// Keeps the status page up to date by the event stream, and shows times in the reader's own time zone.
"use strict";

const now = document.getElementById("now");
const announced = document.getElementById("announced");
const lost = document.getElementById("lost");
const LOST_AFTER = 20000;
let heard = Date.now();

function ownTimes(root) {
  const format = new Intl.DateTimeFormat(undefined, {
    weekday: "short", day: "numeric", month: "short", hour: "2-digit", minute: "2-digit",
    timeZoneName: "short",
  });
  for (const time of root.querySelectorAll("time[datetime]")) {
    const own = document.createElement("strong");
    own.textContent = format.format(new Date(time.dateTime));
    time.prepend(own, " · ");
  }
}

function show(said) {
  heard = Date.now();
  lost.hidden = true;
  now.innerHTML = said.html;  // made by the same template as the page, where everything is escaped
  now.className = said.state;
  ownTimes(now);
  if (announced.textContent !== said.announce) announced.textContent = said.announce;
  document.title = `${now.querySelector(".badge").textContent} · CRM status`;
}

ownTimes(now);
const stream = new EventSource("/events");
stream.onmessage = (event) => show(JSON.parse(event.data));
setInterval(() => {
  lost.hidden = Date.now() - heard < LOST_AFTER;
  // where streams are not let through, the page is read again as without JavaScript
  if (!lost.hidden && stream.readyState === EventSource.CLOSED) location.reload();
}, 5000);
