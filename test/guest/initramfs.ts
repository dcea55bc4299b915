import { lstatSync, readFileSync, realpathSync } from "node:fs";
import { dirname } from "node:path";

/** An archive in the "newc" format that Linux boots from (Documentation/driver-api/early-userspace/buffer-format.rst). */
export class Initramfs {
  readonly #parts: Uint8Array[] = [];
  readonly #names = new Set<string>();
  #inode = 1;

  /** A file of the host under its own or another name, with its folders. */
  addHost(path: string, name = path): void {
    this.add(name, readFileSync(path), lstatSync(realpathSync(path)).mode & 0o7777);
  }

  add(name: string, body: string | Uint8Array, mode = 0o644): void {
    this.#folders(name);
    this.#entry(name, 0o100000 | mode, typeof body === "string" ? Buffer.from(body) : body);
  }

  link(name: string, target: string): void {
    this.#folders(name);
    this.#entry(name, 0o120777, Buffer.from(target));
  }

  folder(name: string, mode = 0o755): void {
    this.#folders(name);
    this.#entry(name, 0o040000 | mode, Buffer.alloc(0));
  }

  /** A program or library with every library it is linked to. */
  addProgram(path: string, name = path): void {
    this.addHost(path, name);
    const listed = Bun.spawnSync(["ldd", path], { stdout: "pipe", stderr: "ignore" }).stdout.toString();
    for (const [, library] of listed.matchAll(/(\/\S+\.so\S*)/g)) if (library !== undefined) this.addHost(library);
  }

  bytes(): Uint8Array {
    this.#entry("TRAILER!!!", 0, Buffer.alloc(0));
    return Buffer.concat(this.#parts);
  }

  #folders(name: string): void {
    const parent = dirname(name);
    if (parent !== "/" && parent !== "." && !this.#names.has(parent)) this.folder(parent);
  }

  #entry(name: string, mode: number, body: Uint8Array): void {
    if (this.#names.has(name)) return;
    this.#names.add(name);
    const shown = `${name.replace(/^\//, "")}\0`;
    const fields = [this.#inode++, mode, 0, 0, 1, 0, body.length, 0, 0, 0, 0, Buffer.byteLength(shown), 0];
    const head = Buffer.from(`070701${fields.map((field) => field.toString(16).padStart(8, "0")).join("")}${shown}`);
    const padding = (length: number): Uint8Array => Buffer.alloc((4 - (length % 4)) % 4);
    this.#parts.push(head, padding(head.length), body, padding(body.length));
  }
}
