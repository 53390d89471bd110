// Picture files: chosen, dropped (folders too) or pasted, and made smaller where they are large.
const AS_THEY_ARE = 4_000_000; // bytes up to which a file is sent unchanged
const SIDE = 1600; // pixels of the longer side of what is made smaller
const MOST = 200; // of one drop
const PICTURE = /\.(jpe?g|jfif|png|webp|gif|bmp|tiff?|ppm|pgm|avif|heic)$/i;

export interface NamedBytes {
  name: string;
  bytes: ArrayBuffer;
}

/** The bytes to send. Throws for a large file that the browser cannot read. */
export async function packed(file: File): Promise<NamedBytes> {
  if (file.size <= AS_THEY_ARE) return { name: file.name, bytes: await file.arrayBuffer() };
  let bitmap: ImageBitmap;
  try {
    bitmap = await createImageBitmap(file); // upright, as its EXIF data say
  } catch {
    throw new Error(`${file.name}: not a picture that this browser can read`);
  }
  const scale = Math.min(1, SIDE / Math.max(bitmap.width, bitmap.height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(bitmap.width * scale));
  canvas.height = Math.max(1, Math.round(bitmap.height * scale));
  canvas.getContext("2d")!.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  const blob = await new Promise<Blob | null>((done) => canvas.toBlob(done, "image/jpeg", 0.95));
  if (!blob) throw new Error(`${file.name}: it is too large for this browser`);
  return { name: file.name, bytes: await blob.arrayBuffer() };
}

/** The files in a drop or on the clipboard; of folders, all pictures in them. */
export async function filesIn(data: DataTransfer): Promise<File[]> {
  const entries = Array.from(data.items ?? [], (item) => item.webkitGetAsEntry?.() ?? null);
  if (!entries.some((entry) => entry?.isDirectory)) return Array.from(data.files).slice(0, MOST);
  const found: File[] = [];
  for (const entry of entries) if (entry) await collect(entry, found, true);
  return found;
}

async function collect(entry: FileSystemEntry, found: File[], named: boolean): Promise<void> {
  if (found.length >= MOST) return;
  if (entry.isDirectory) {
    const reader = (entry as FileSystemDirectoryEntry).createReader();
    for (;;) {
      const some = await new Promise<FileSystemEntry[]>((done, failed) => reader.readEntries(done, failed));
      if (!some.length) return;
      for (const each of some.sort((a, b) => (a.name < b.name ? -1 : 1))) await collect(each, found, false);
    }
  }
  if (named || PICTURE.test(entry.name)) {
    found.push(await new Promise<File>((done, failed) => (entry as FileSystemFileEntry).file(done, failed)));
  }
}
