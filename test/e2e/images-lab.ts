import { mkdirSync, mkdtempSync, readdirSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createContentStore } from "../../src/content/content.ts";
import type { ContentStore } from "../../src/content/types.ts";
import { createRegistryClient } from "../../src/distribution/client.ts";
import { createEvents } from "../../src/events/events.ts";
import type { Events } from "../../src/events/types.ts";
import { createImages } from "../../src/images/images.ts";
import type { ImageRecord, Images, ProgressMessage } from "../../src/images/types.ts";
import { createUserNamespaces } from "../../src/kernel/user-namespace.ts";
import { silent } from "../../src/lib/log.ts";
import { tarOf, type TarHeaderInit } from "../../src/lib/tar-writer.ts";
import { createRecords } from "../../src/registry/records.ts";
import { registryMigrations } from "../../src/registry/schema.ts";
import { createRegistryServer } from "../../src/registry/server.ts";
import { createSnapshots } from "../../src/snapshots/snapshots.ts";
import type { Snapshots } from "../../src/snapshots/types.ts";
import { migrations } from "../../src/store/schema.ts";
import { openStore, type Store } from "../../src/store/store.ts";
import { removeRoot } from "../remove-root.ts";

export type Entry = TarHeaderInit & { body?: Uint8Array | string };

/** The part of an engine that knows images, on a root of its own. */
export interface Lab extends Disposable {
  root: string;
  store: Store;
  content: ContentStore;
  snapshots: Snapshots;
  events: Events;
  images: Images;
  /** Messages of the last pull or push. */
  messages: ProgressMessage[];
  pull(reference: string, options?: Partial<Parameters<Images["pull"]>[1]>): Promise<ImageRecord>;
  push(reference: string): Promise<void>;
  /** An image with one imported layer of `entries`. */
  image(reference: string, entries: Entry[]): Promise<ImageRecord>;
  /** An image with one layer of `files` on top of `parent`, as a build makes it. */
  onTop(parent: ImageRecord, reference: string, files: Record<string, string>): Promise<ImageRecord>;
  /** Removes every image and collects what only they kept. */
  empty(): Promise<void>;
  /** Blobs, snapshots and files in the ingest folder: all that a failed pull could leave. */
  rest(): { blobs: number; snapshots: number; ingests: number };
}

export function createLab(options: { stallTimeout?: number } = {}): Lab {
  const root = mkdtempSync(join(tmpdir(), "berth-images-"));
  for (const folder of ["content", "snapshots"]) mkdirSync(join(root, folder));
  const store = openStore(join(root, "engine.db"), migrations);
  const log = silent;
  const events = createEvents({ store, log });
  const content = createContentStore({ root: join(root, "content"), store, log });
  const snapshots = createSnapshots({ root: join(root, "snapshots"), store, log, userNamespaces: createUserNamespaces() });
  const registry = createRegistryClient({ insecure: [], mirrors: [], certificates: [], retryDelay: 1, log, ...options });
  const images = createImages({ store, content, snapshots, registry, events, users: { containersOf: () => [] }, log });
  const lab: Lab = {
    root,
    store,
    content,
    snapshots,
    events,
    images,
    messages: [],
    pull: async (reference, more = {}) => {
      lab.messages = [];
      return await images.pull(reference, { onProgress: (message) => void lab.messages.push(message), ...more });
    },
    push: async (reference) => {
      lab.messages = [];
      await images.push(reference, { onProgress: (message) => void lab.messages.push(message) });
    },
    image: async (reference, entries) => await images.import(new Blob([tarOf(entries)]).stream(), { reference, onProgress: () => {} }),
    onTop: async (parent, reference, files) => {
      const snapshot = store.tx(() => snapshots.createActive());
      await snapshots.prepareActive(snapshot, parent.layers);
      for (const [name, body] of Object.entries(files)) writeFileSync(join(snapshots.path(snapshot), name), body);
      await snapshots.commit(snapshot);
      const { rootfs: _rootfs, ...config } = parent.config;
      return await images.create({ parent, snapshot, config, reference });
    },
    empty: async () => {
      // Children first.
      for (const { id } of (await images.list({ all: true })).toSorted((a, b) => b.layers.length - a.layers.length)) {
        if ((await images.list({ all: true })).some((image) => image.id === id)) await images.remove(id, { force: true });
      }
      await images.restore();
    },
    rest: () => ({
      blobs: content.list().length,
      snapshots: (store.db.query("SELECT count(*) AS n FROM snapshots WHERE state = 'ready'").get() as { n: number }).n,
      ingests: readdirSync(join(root, "content", "ingest")).length,
    }),
    [Symbol.dispose]: () => {
      store[Symbol.dispose]();
      removeRoot(root);
    },
  };
  return lab;
}

/** Berth's registry on a free port of loopback, in a new folder of `within`. */
export async function startBerthRegistry({ within = tmpdir() } = {}): Promise<{ host: string } & AsyncDisposable> {
  const root = mkdtempSync(join(within, "berth-registry-"));
  const store = openStore(join(root, "registry.db"), registryMigrations);
  const content = createContentStore({ root: join(root, "content"), store, log: silent });
  const server = createRegistryServer({
    client: createRegistryClient({ insecure: [], mirrors: [], log: silent }),
    content,
    records: createRecords(store, content),
    log: silent,
  });
  const { host, port } = await server.listen({ port: 0 });
  return {
    host: `${host}:${port}`,
    [Symbol.asyncDispose]: async () => {
      await server.close();
      store[Symbol.dispose]();
      removeRoot(root);
    },
  };
}
