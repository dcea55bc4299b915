import { closeSync, openSync, readSync } from "node:fs";

export interface Section {
  /** Of its first byte in the file. */
  offset: number;
  size: number;
}

/** A section of an ELF file by its name, or undefined where the file has none, or isn't 64-bit little-endian ELF (elf(5): Elf64_Ehdr, Elf64_Shdr). */
export function findSection(path: string, name: string): Section | undefined {
  const fd = openSync(path, "r");
  const read = (size: number, offset: number): Buffer => {
    const bytes = Buffer.alloc(size);
    return bytes.subarray(0, readSync(fd, bytes, 0, size, offset));
  };
  try {
    const header = read(64, 0);
    if (header.length < 64 || header.toString("latin1", 0, 6) !== "\x7fELF\x02\x01") return undefined;
    const entrySize = header.readUInt16LE(0x3a);
    const count = header.readUInt16LE(0x3c);
    const table = read(entrySize * count, Number(header.readBigUInt64LE(0x28)));
    const entryAt = (index: number): { name: number; offset: number; size: number } => {
      const entry = table.subarray(index * entrySize);
      return { name: entry.readUInt32LE(0), offset: Number(entry.readBigUInt64LE(0x18)), size: Number(entry.readBigUInt64LE(0x20)) };
    };
    const names = entryAt(header.readUInt16LE(0x3e));
    const texts = read(names.size, names.offset).toString("latin1");
    for (let index = 0; index < count; index++) {
      const entry = entryAt(index);
      if (texts.startsWith(`${name}\0`, entry.name)) return { offset: entry.offset, size: entry.size };
    }
    return undefined;
  } finally {
    closeSync(fd);
  }
}
