import { describe, expect, test } from "bun:test";
import type { ContentStore } from "../../src/content/types.ts";
import { EngineError } from "../../src/lib/errors.ts";
import { digestOf, type Digest } from "../../src/oci/digest.ts";

async function kindOfFailure(work: () => unknown): Promise<string> {
  try {
    await work();
  } catch (error) {
    return error instanceof EngineError ? error.kind : `no EngineError: ${String(error)}`;
  }
  return "none";
}

const text = async (stream: ReadableStream<Uint8Array>): Promise<string> => await new Response(stream as never).text();

/** What every content store does. `open` gives an empty one; `reopen` the same again, as after a restart. */
export function contentContract(name: string, open: () => Promise<{ content: ContentStore; reopen: () => Promise<ContentStore> } & AsyncDisposable>): void {
  describe(`content store: ${name}`, () => {
    test("what is put comes back by digest", async () => {
      await using env = await open();
      const blob = await env.content.put("hello");
      expect(blob).toEqual({ digest: digestOf("hello"), size: 5 });
      expect(env.content.info(blob.digest)).toEqual(blob);
      expect(Buffer.from(await env.content.bytes(blob.digest)).toString()).toBe("hello");
      expect(await text(env.content.open(blob.digest))).toBe("hello");
      expect(await text(env.content.open(blob.digest, { start: 1, end: 3 }))).toBe("el");
      expect(await text(env.content.open(blob.digest, { start: 3 }))).toBe("lo");
      expect(await Bun.file(env.content.path(blob.digest)).text()).toBe("hello");
      expect(env.content.list()).toEqual([blob]);
    });

    test("an ingest in pieces, a big one among them", async () => {
      await using env = await open();
      await using ingest = await env.content.ingest();
      const big = new Uint8Array(3 << 20).fill(7);
      await ingest.write(Buffer.from("head"));
      await ingest.write(big);
      await ingest.write(new Uint8Array(0));
      expect(ingest.written).toBe(big.length + 4);
      const blob = await ingest.commit({ size: big.length + 4 });
      expect(blob.digest).toBe(digestOf(Buffer.concat([Buffer.from("head"), big])));
    });

    test("the same bytes twice are one blob, also at once", async () => {
      await using env = await open();
      const blobs = await Promise.all(Array.from({ length: 8 }, () => env.content.put("same")));
      expect(new Set(blobs.map((blob) => blob.digest)).size).toBe(1);
      expect(env.content.list().length).toBe(1);
      expect(await text(env.content.open(blobs[0]!.digest))).toBe("same");
    });

    test("a wrong digest or size is refused, and nothing stays", async () => {
      await using env = await open();
      expect(await kindOfFailure(() => env.content.put("x", digestOf("y")))).toBe("invalidArgument");
      await using ingest = await env.content.ingest();
      await ingest.write(Buffer.from("x"));
      expect(await kindOfFailure(() => ingest.commit({ size: 2 }))).toBe("invalidArgument");
      expect(env.content.list()).toEqual([]);
      expect(env.content.info(digestOf("x"))).toBeUndefined();
    });

    test("sha512", async () => {
      await using env = await open();
      const digest = `sha512:${new Bun.CryptoHasher("sha512").update("x").digest("hex")}` as Digest;
      expect((await env.content.put("x", digest)).digest).toBe(digest);
      expect(await text(env.content.open(digest))).toBe("x");
      expect(await kindOfFailure(() => env.content.put("y", digest))).toBe("invalidArgument");
    });

    test("what isn't here", async () => {
      await using env = await open();
      const digest = digestOf("missing");
      expect(env.content.info(digest)).toBeUndefined();
      expect(await kindOfFailure(() => env.content.open(digest))).toBe("notFound");
      expect(await kindOfFailure(() => env.content.path(digest))).toBe("notFound");
      expect(await kindOfFailure(() => env.content.bytes(digest))).toBe("notFound");
      await env.content.remove(digest);
    });

    test("what is too big for memory, or no JSON", async () => {
      await using env = await open();
      const { digest } = await env.content.put("not json");
      expect(await kindOfFailure(() => env.content.bytes(digest, 3))).toBe("invalidArgument");
      expect(await kindOfFailure(() => env.content.json(digest))).toBe("invalidArgument");
      expect(await env.content.json<{ a: number }>((await env.content.put('{"a":1}')).digest)).toEqual({ a: 1 });
    });

    test("an ingest disposed without commit leaves nothing; one used after its end fails", async () => {
      await using env = await open();
      const ingest = await env.content.ingest();
      await ingest.write(Buffer.from("lost"));
      await ingest[Symbol.asyncDispose]();
      await ingest[Symbol.asyncDispose]();
      expect(await kindOfFailure(() => ingest.write(Buffer.from("x")))).toBe("internal");
      expect(env.content.list()).toEqual([]);
    });

    test("staged blobs become visible together", async () => {
      await using env = await open();
      const [one, two] = [Buffer.from("one"), Buffer.from("two")];
      expect(await kindOfFailure(() => env.content.stage(one, digestOf("two")))).toBe("invalidArgument");
      await using stack = new AsyncDisposableStack();
      const staged = [stack.use(await env.content.stage(one, digestOf(one))), stack.use(await env.content.stage(two, digestOf(two)))];
      const again = stack.use(await env.content.stage(two, digestOf(two)));
      expect(env.content.list()).toEqual([]);
      await env.content.publish([...staged, again]);
      await env.content.publish([again]);
      await stack.disposeAsync();
      expect(new Set(env.content.list().map(({ digest }) => digest))).toEqual(new Set([digestOf(one), digestOf(two)]));
      expect(await text(env.content.open(digestOf(two)))).toBe("two");
    });

    test("a download's pieces come in any order, and none of them is written twice", async () => {
      await using env = await open();
      const bytes = Buffer.from("0123456789");
      const digest = digestOf(bytes);
      await using one = await env.content.download({ digest, size: 10 });
      await using two = await env.content.download({ digest, size: 10 });
      const arriving = two.arriving();
      const first = arriving.more(0);
      await one.write(6, [bytes.subarray(6, 8), bytes.subarray(8)]);
      expect([one.received, two.missing()]).toEqual([4, [{ start: 0, end: 6 }]]);
      await one.write(0, [bytes.subarray(0, 3)]);
      expect(await first).toBe(3);
      // Others have checked these by now: what comes again is left where it is.
      await Promise.all([two.write(2, [Buffer.from("X3"), Buffer.from("45X")]), one.write(3, [Buffer.from("345")])]);
      expect(await arriving.more(3)).toBe(10);
      expect(one.missing()).toEqual([]);
      expect(await kindOfFailure(() => one.write(8, [Buffer.from("890")]))).toBe("internal");
      await env.content.publish([two]);
      expect(await text(env.content.open(digest))).toBe("0123456789");
    });

    test("what came of a download serves the next, after a restart too, if it was to be kept", async () => {
      await using env = await open();
      const blob = { digest: digestOf("0123456789"), size: 10 };
      const begin = async (content: ContentStore, at: number, bytes: string, keep: boolean): Promise<number> => {
        await using download = await content.download(blob);
        const before = download.received;
        expect(download.resumed).toBe(before > 0);
        await download.write(at, [Buffer.from(bytes)]);
        if (keep) download.keep();
        return before;
      };
      expect(await begin(env.content, 0, "012", false)).toBe(0);
      expect(await begin(env.content, 5, "567", true)).toBe(0);
      const again = await env.reopen();
      await again.restore();
      expect(await begin(again, 0, "01", true)).toBe(3);
      await using rest = await again.download(blob);
      expect(rest.missing()).toEqual([
        { start: 2, end: 5 },
        { start: 8, end: 10 },
      ]);
      const arriving = rest.arriving();
      const waiting = kindOfFailure(() => arriving.more(2));
      await rest.clear();
      expect(await waiting).toBe("internal");
      expect(await kindOfFailure(() => arriving.more(0))).toBe("internal");
      expect([rest.received, rest.resumed]).toEqual([0, false]);
      await rest.write(0, [Buffer.from("0123456789")]);
      await again.publish([rest]);
      expect(await text(again.open(blob.digest))).toBe("0123456789");
    });

    test("downloads that nobody goes on with are collected by age", async () => {
      await using env = await open();
      const blob = { digest: digestOf("abandoned"), size: 9 };
      await using running = await env.content.download({ digest: digestOf("running"), size: 7 });
      await running.write(0, [Buffer.from("run")]);
      await using abandoned = await env.content.download(blob);
      await abandoned.write(0, [Buffer.from("aban")]);
      abandoned.keep();
      await abandoned[Symbol.asyncDispose]();
      expect(await env.content.collectDownloads(60_000)).toBe(0);
      const both = await Promise.all([env.content.collectDownloads(0), env.content.collectDownloads(0)]);
      expect(Math.max(...both)).toBeGreaterThan(0);
      expect(Math.min(...both)).toBe(0);
      await using again = await env.content.download(blob);
      expect([again.received, running.received]).toEqual([0, 3]);
    });

    test("removed is removed", async () => {
      await using env = await open();
      const { digest } = await env.content.put("x");
      const path = env.content.path(digest);
      await env.content.remove(digest);
      expect(env.content.info(digest)).toBeUndefined();
      expect(await Bun.file(path).exists()).toBe(false);
    });

    test("collected is what no owner holds, asked when it goes", async () => {
      await using env = await open();
      const { digest: free } = await env.content.put("free");
      const { digest: first } = await env.content.put("first owner's");
      const { digest: second } = await env.content.put("second owner's");
      const lost: Digest[] = [];
      const lose = (digest: Digest): string => `${lost.push(digest)}`;
      env.content.addOwner((digest) => digest === first, lose);
      env.content.addOwner(
        (digest) => digest === second,
        () => undefined,
      );
      expect(await env.content.collect([digestOf("unknown"), first, free, second])).toEqual([free]);
      expect(env.content.list().length).toBe(2);
      expect(await env.content.remove(first)).toEqual(["1"]);
      expect([lost, env.content.info(first)]).toEqual([[first], undefined]);
    });

    test("put and remove at once end in one of the two states, never a record without its bytes", async () => {
      await using env = await open();
      const digest = digestOf("contended");
      for (let i = 0; i < 30; i++) {
        await Promise.all([env.content.put("contended"), env.content.remove(digest), env.content.put("contended"), env.content.remove(digest)]);
        const known = env.content.info(digest) !== undefined;
        if (known) expect(await text(env.content.open(digest))).toBe("contended");
      }
    });

    test("a restart keeps blobs and forgets ingests", async () => {
      await using env = await open();
      const { digest } = await env.content.put("kept");
      const ingest = await env.content.ingest();
      await ingest.write(Buffer.from("half"));
      const again = await env.reopen();
      await again.restore();
      expect(again.list().map((blob) => blob.digest)).toEqual([digest]);
      expect(await text(again.open(digest))).toBe("kept");
      await ingest[Symbol.asyncDispose]();
    });
  });
}
