import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { open, readdir, rename, rm, stat, writeFile, type FileHandle } from "node:fs/promises";
import { join } from "node:path";
import { algorithmOf, digestLike, hexOf, type Digest } from "../oci/digest.ts";
import { EngineError, internal, invalidArgument, notFound } from "../lib/errors.ts";
import { createDiskSync, type DiskSync } from "../kernel/disk-sync.ts";
import type { Logger } from "../lib/log.ts";
import { KeyedMutex } from "../lib/mutex.ts";
import type { Store } from "../store/store.ts";
import { noteOf, SharedDownload } from "./download.ts";
import type { BlobInfo, BlobOwner, ContentStore, Ingest, Staged } from "./types.ts";
import { writeError } from "./write-error.ts";

/** Registries refuse bigger manifests; whoever reads a blob into memory whole stays below it. */
const BYTES_LIMIT = 4 << 20;
/** One go of the hasher: 0.6 ms of the loop at 870 MB/s. */
const HASH_SLICE = 512 << 10;

/** Bytes of a download are kept for so long (milliseconds) after the last of them came: a day, as containerd keeps content that nobody names. */
const KEPT_DOWNLOAD = 24 * 60 * 60 * 1000;
/** Files of downloads are named by digest and size: two manifests may not agree about the size. */
const downloadName = /^(?:sha256-[a-f0-9]{64}|sha512-[a-f0-9]{128})-\d+$/;

/**
 * Blobs under `root`, an OCI image layout. The caller holds the data root's lock: unfinished ingests of an earlier life are deleted here, but for downloads.
 */
export function createContentStore(deps: { root: string; store: Store; log: Logger; disk?: DiskSync }): ContentStore {
  const { root, store, log, disk = createDiskSync() } = deps;
  const blobs = join(root, "blobs");
  const ingests = join(root, "ingest");
  const removed = join(root, "removed");
  for (const algorithm of ["sha256", "sha512"]) mkdirSync(join(blobs, algorithm), { recursive: true, mode: 0o700 });
  mkdirSync(ingests, { recursive: true, mode: 0o700 });
  rmSync(removed, { recursive: true, force: true });
  mkdirSync(removed, { mode: 0o700 });
  const left = new Set(readdirSync(ingests));
  for (const name of left) {
    const of = name.replace(/\.json$/, "");
    if (!downloadName.test(of) || !left.has(of)) rmSync(join(ingests, name), { recursive: true, force: true });
  }
  writeFileSync(join(root, "oci-layout"), `{"imageLayoutVersion":"1.0.0"}`);
  writeFileSync(join(root, "index.json"), `{"schemaVersion":2,"manifests":[]}`);

  const select = store.db.query<{ size: number }, [string]>("SELECT size FROM blobs WHERE digest = ?");
  const insert = store.db.query("INSERT INTO blobs (digest, size, used_at) VALUES (?, ?, ?) ON CONFLICT (digest) DO UPDATE SET used_at = excluded.used_at");
  /** A blob that is removed and stored again at once must not lose its new file to the old removal. */
  const changing = new KeyedMutex();
  const owners: { holds: BlobOwner; lose: (digest: Digest) => string | undefined }[] = [];
  /** By the name of their file. */
  const downloads = new Map<string, SharedDownload>();
  const opening = new KeyedMutex();
  const fileOf = (digest: Digest): string => join(blobs, algorithmOf(digest), hexOf(digest));
  let counter = 0;

  const info = (digest: Digest): BlobInfo | undefined => {
    const row = select.get(digest);
    return row === null ? undefined : { digest, size: row.size };
  };
  const need = (digest: Digest): BlobInfo => {
    const found = info(digest);
    if (found === undefined) throw notFound(`blob ${digest} is not here`);
    return found;
  };

  /**
   * The row first: a file without a row is rubbish that `restore` deletes, a row without its file would be a lie. Deleting a big file takes a while: it loses
   * its name at once; what an engine that is killed meanwhile leaves is deleted by the next.
   */
  const removeNow = (digest: Digest): void => {
    store.db.query("DELETE FROM blobs WHERE digest = ?").run(digest);
    const aside = join(removed, String(++counter));
    try {
      renameSync(fileOf(digest), aside);
    } catch (error) {
      if ((error as { code?: string }).code !== "ENOENT") throw writeError(`removing blob ${digest}`, error);
      return;
    }
    rm(aside, { force: true }).catch((error: unknown) => log.error("removing a blob's file failed; the next start tries again", { digest, error }));
  };

  const ingest = async (): Promise<Ingest> => {
    const path = join(ingests, String(++counter));
    const file = await open(path, "wx", 0o600).catch((error: unknown) => {
      throw writeError("storing a blob", error);
    });
    const publish = (digest: Digest, size: number): Promise<void> =>
      changing.run(digest, async () => {
        await rename(path, fileOf(digest));
        insert.run(digest, size, Date.now());
      });
    return new FileIngest({ path, file, publish });
  };

  const stage: ContentStore["stage"] = async (bytes, digest) => {
    const found = digestLike(bytes, digest);
    if (found !== digest) throw invalidArgument(`blob has digest ${found}, not ${digest} as announced`);
    const path = join(ingests, String(++counter));
    await writeFile(path, bytes, { flag: "wx", mode: 0o600 }).catch(async (error: unknown) => {
      await rm(path, { force: true });
      throw writeError("storing a blob", error);
    });
    return stagedFile(path, digest, bytes.length);
  };

  const download: ContentStore["download"] = async ({ digest, size }) => {
    const name = `${algorithmOf(digest)}-${hexOf(digest)}-${size}`;
    const exclusive = <T>(work: () => Promise<T>): Promise<T> => opening.run(name, work);
    return await exclusive(async () => {
      const found =
        downloads.get(name) ?? (await SharedDownload.open({ digest, size, path: join(ingests, name), exclusive, onIdle: () => downloads.delete(name) }));
      downloads.set(name, found);
      return found.hold();
    });
  };

  const publish: ContentStore["publish"] = async (staged, alongside = async () => {}) => {
    await using locks = new AsyncDisposableStack();
    // In order, so that two who publish the same don't wait for each other.
    const distinct = [...new Map(staged.map((blob) => [blob.digest, blob])).values()].toSorted((a, b) => (a.digest < b.digest ? -1 : 1));
    const fresh: Staged[] = [];
    for (const blob of distinct) {
      locks.use(await changing.lock(blob.digest));
      if (info(blob.digest) === undefined) fresh.push(blob);
    }
    if (fresh.length === 0) return await alongside();
    try {
      for (const blob of fresh) {
        await rename(blob.path, fileOf(blob.digest));
        blob.published();
      }
      await Promise.all([disk.sync(blobs), alongside()]);
      store.tx(() => {
        for (const { digest, size } of fresh) insert.run(digest, size, Date.now());
      });
    } catch (error) {
      for (const blob of fresh) if (info(blob.digest) === undefined) await rm(fileOf(blob.digest), { force: true });
      throw error instanceof EngineError ? error : writeError("storing blobs", error);
    }
  };

  const collectDownloads: ContentStore["collectDownloads"] = async (age = KEPT_DOWNLOAD) => {
    let freed = 0;
    for (const name of await readdir(ingests)) {
      if (!downloadName.test(name)) continue;
      await opening.run(name, async () => {
        if (downloads.has(name)) return;
        const path = join(ingests, name);
        const note = await stat(noteOf(path)).catch(() => undefined);
        if (note !== undefined && Date.now() - note.mtimeMs < age) return;
        // Somebody else may have finished it, or collected it, since the folder was read.
        const file = await stat(path).catch(() => undefined);
        if (file === undefined) return;
        freed += file.blocks * 512;
        for (const each of [noteOf(path), path]) await rm(each, { force: true });
      });
    }
    return freed;
  };

  const bytes = async (digest: Digest, limit = BYTES_LIMIT): Promise<Uint8Array> => {
    const { size } = need(digest);
    if (size > limit) throw invalidArgument(`blob ${digest} has ${size} bytes, more than the ${limit} allowed here`);
    return await Bun.file(fileOf(digest)).bytes();
  };

  const list: ContentStore["list"] = () => store.db.query<{ digest: Digest; size: number }, []>("SELECT digest, size FROM blobs ORDER BY digest").all();

  /** A file becomes a blob under the blob's lock, within which its row follows. */
  const strays: ContentStore["strays"] = async ({ remove = false } = {}) => {
    const found: string[] = [];
    const rows = new Set(list().map(({ digest }) => digest));
    for (const algorithm of await readdir(blobs)) {
      for (const name of await readdir(join(blobs, algorithm))) {
        const digest = `${algorithm}:${name}` as Digest;
        if (rows.has(digest)) continue;
        await changing.run(digest, async () => {
          const path = join(blobs, algorithm, name);
          if (info(digest) !== undefined || !existsSync(path)) return;
          found.push(`${algorithm}/${name}`);
          if (remove) await rm(path, { recursive: true, force: true });
        });
      }
    }
    return found;
  };

  return {
    info,
    ingest,
    stage,
    download,
    publish,
    collectDownloads,
    bytes,
    path: (digest) => fileOf(need(digest).digest),
    open: (digest, range = {}) => {
      const { size } = need(digest);
      const file = Bun.file(fileOf(digest));
      return (range.start === undefined && range.end === undefined ? file : file.slice(range.start ?? 0, range.end ?? size)).stream();
    },
    json: async <T>(digest: Digest): Promise<T> => {
      const text = new TextDecoder().decode(await bytes(digest));
      try {
        return JSON.parse(text) as T;
      } catch (error) {
        throw invalidArgument(`blob ${digest} is not JSON`, error);
      }
    },
    put: async (content, expected) => {
      await using writing = await ingest();
      await writing.write(typeof content === "string" ? new TextEncoder().encode(content) : content);
      return await writing.commit(expected === undefined ? {} : { digest: expected });
    },
    remove: (digest) =>
      changing.run(digest, async () => {
        const said = store.tx(() => {
          store.db.query("DELETE FROM blobs WHERE digest = ?").run(digest);
          return owners.flatMap(({ lose }) => lose(digest) ?? []);
        });
        removeNow(digest);
        return said;
      }),
    addOwner: (holds, lose) => void owners.push({ holds, lose }),
    collect: async (digests) => {
      const gone: Digest[] = [];
      for (const digest of digests) {
        await changing.run(digest, async () => {
          if (info(digest) === undefined || owners.some(({ holds }) => holds(digest))) return;
          removeNow(digest);
          gone.push(digest);
        });
      }
      return gone;
    },
    list,
    strays,
    restore: async () => {
      await collectDownloads();
      for (const name of await strays({ remove: true })) log.info("removed a blob that no record named", { name });
      for (const { digest } of list()) {
        if (existsSync(fileOf(digest))) continue;
        log.error("a blob's file is gone; forgetting its record", { digest });
        store.db.query("DELETE FROM blobs WHERE digest = ?").run(digest);
      }
    },
  };
}

function stagedFile(path: string, digest: Digest, size: number): Staged {
  let isPublished = false;
  return {
    digest,
    size,
    path,
    published: () => void (isPublished = true),
    [Symbol.asyncDispose]: async () => {
      if (!isPublished) await rm(path, { force: true });
    },
  };
}

/** Serves one writer: calls must be awaited one after another. */
class FileIngest implements Ingest {
  readonly #path: string;
  readonly #file: FileHandle;
  readonly #publish: (digest: Digest, size: number) => Promise<void>;
  readonly #hasher = new Bun.CryptoHasher("sha256");
  #written = 0;
  /** Small chunks (clients send 64 KiB and less) are written together: each write is a trip to another thread. */
  #gathered: Buffer | undefined;
  /** Bytes of it that are waiting. */
  #held = 0;
  #open = true;
  #committed = false;

  /** `publish` moves the file to its name and records it. */
  constructor(options: { path: string; file: FileHandle; publish: (digest: Digest, size: number) => Promise<void> }) {
    this.#path = options.path;
    this.#file = options.file;
    this.#publish = options.publish;
  }

  get written(): number {
    return this.#written;
  }

  async write(chunk: Uint8Array): Promise<void> {
    if (!this.#open) throw internal("write to a blob that is closed");
    for (let at = 0; at < chunk.length;) {
      const left = chunk.length - at;
      const part = chunk.subarray(at, at + HASH_SLICE - this.#held);
      if (this.#held === 0 && left >= HASH_SLICE) await this.#writeAll(part);
      else {
        this.#gathered ??= Buffer.allocUnsafe(HASH_SLICE);
        this.#gathered.set(part, this.#held);
        this.#held += part.length;
        if (this.#held === HASH_SLICE) await this.#flush();
      }
      at += part.length;
      this.#written += part.length;
    }
  }

  async #flush(): Promise<void> {
    if (this.#held > 0) await this.#writeAll(this.#gathered!.subarray(0, this.#held));
    this.#held = 0;
  }

  async #writeAll(bytes: Uint8Array): Promise<void> {
    let rest = bytes;
    this.#hasher.update(bytes);
    try {
      while (rest.length > 0) {
        const { bytesWritten } = await this.#file.write(rest);
        rest = rest.subarray(bytesWritten);
      }
    } catch (error) {
      throw writeError("storing a blob", error);
    }
  }

  async commit(expected: { digest?: Digest; size?: number } = {}): Promise<BlobInfo> {
    if (!this.#open) throw internal("commit of a blob that is closed");
    const size = this.#written;
    const what = expected.digest ?? "blob";
    if (expected.size !== undefined && expected.size !== size) throw invalidArgument(`${what}: got ${size} bytes where ${expected.size} were announced`);
    await this.#flush();
    const digest = await this.#digest(expected.digest);
    if (expected.digest !== undefined && expected.digest !== digest) throw invalidArgument(`blob has digest ${digest}, not ${expected.digest} as announced`);
    try {
      await this.#file.datasync();
      await this.#close();
      await this.#publish(digest, size);
    } catch (error) {
      throw writeError(`storing blob ${digest}`, error);
    }
    this.#committed = true;
    return { digest, size };
  }

  async seal(): Promise<Staged> {
    if (!this.#open) throw internal("a blob that is closed can't be sealed");
    await this.#flush();
    const digest = await this.#digest(undefined);
    await this.#close();
    this.#committed = true;
    return stagedFile(this.#path, digest, this.#written);
  }

  /** sha512 is so rare that the file is read again for it. */
  async #digest(expected: Digest | undefined): Promise<Digest> {
    if (expected === undefined || algorithmOf(expected) === "sha256") return `sha256:${this.#hasher.digest("hex")}` as Digest;
    const hasher = new Bun.CryptoHasher("sha512");
    for await (const chunk of Bun.file(this.#path).stream()) hasher.update(chunk);
    return `sha512:${hasher.digest("hex")}` as Digest;
  }

  async #close(): Promise<void> {
    if (!this.#open) return;
    this.#open = false;
    await this.#file.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#close();
    if (!this.#committed) await rm(this.#path, { force: true });
  }
}
