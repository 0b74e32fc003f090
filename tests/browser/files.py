"""Files as a person hands them to a page: chosen, dropped or pasted."""

import base64
from dataclasses import dataclass

from playwright.sync_api import FilePayload, Page

HAND_OVER = """([kind, files, text]) => {
  const given = new DataTransfer();
  for (const {name, type, data} of files)
    given.items.add(new File([Uint8Array.from(atob(data), (c) => c.charCodeAt(0))], name, {type}));
  if (text) given.setData("text/plain", text);
  const event = kind === "paste"
    ? new ClipboardEvent("paste", {clipboardData: given, bubbles: true, cancelable: true})
    : new DragEvent(kind, {dataTransfer: given, bubbles: true, cancelable: true});
  document.body.dispatchEvent(event);
}"""


@dataclass(frozen=True)
class File:
    """A file with its name, bytes and media type."""

    name: str
    data: bytes
    type: str = "image/jpeg"

    @property
    def payload(self) -> FilePayload:
        return {"name": self.name, "mimeType": self.type, "buffer": self.data}


def choose(page: Page, *files: File) -> None:
    """Choose files in the page's file chooser."""
    page.set_input_files("input[type=file]", [file.payload for file in files])


def drop(page: Page, *files: File) -> None:
    """Drag files over the page and let them go."""
    for kind in ("dragenter", "dragover", "drop"):
        hand_over(page, kind, *files)


def paste(page: Page, *files: File, text: str = "") -> None:
    """Paste files or text into the page."""
    hand_over(page, "paste", *files, text=text)


def hand_over(page: Page, kind: str, *files: File, text: str = "") -> None:
    given = [
        {"name": file.name, "type": file.type, "data": base64.b64encode(file.data).decode()} for file in files
    ]
    page.evaluate(HAND_OVER, [kind, given, text])
