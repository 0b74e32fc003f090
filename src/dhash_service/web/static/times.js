// Times of the server, in UTC, as times of the reader.

const SPOKEN = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

export const spoken = (moment) => SPOKEN.format(new Date(moment));

for (const time of document.querySelectorAll("time[datetime]:not([title])")) {
  time.title = time.textContent;
  time.textContent = spoken(time.dateTime);
}
