import { TarParser } from "../src/lib/tar-reader.ts";

/** The bodies of a whole archive's entries by name. */
export function members(archive: Uint8Array): Map<string, Buffer> {
  const found = new Map<string, Buffer>();
  let name = "";
  const parser = new TarParser({
    entry: (header) => void found.set((name = header.name), Buffer.alloc(0)),
    data: (chunk) => void found.set(name, Buffer.concat([found.get(name)!, chunk])),
    hole: () => {},
    end: () => {},
  });
  parser.push(archive);
  parser.finish();
  return found;
}
