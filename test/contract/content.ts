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
      env.content.addOwner((digest) => digest === first);
      env.content.addOwner((digest) => digest === second);
      expect(await env.content.collect([digestOf("unknown"), first, free, second])).toEqual([free]);
      expect(env.content.list().length).toBe(2);
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
