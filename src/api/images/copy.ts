import { invalidArgument } from "../../lib/errors.ts";
import { isDigest, type Digest } from "../../oci/digest.ts";
import { endpoint, json, noContent } from "../endpoint.ts";
import { platformParam } from "../platform.ts";
import type { Query } from "../query.ts";
import { bool, int, list, object, text, texts } from "../schema.ts";
import { sendBytes } from "../streams/bytes.ts";
import { ProgressStream } from "../streams/progress.ts";

/** Berth's own: copies of images from engine to engine, carried by a client of both (images/copy.ts). */

const layer = object({ digest: text, size: int });

function digest(value: string): Digest {
  if (!isDigest(value)) throw invalidArgument(`${JSON.stringify(value.slice(0, 100))} is no digest`);
  return value;
}

function layerOf({ digest: value, size }: { digest: string; size: number }): { digest: Digest; size: number } {
  if (!Number.isSafeInteger(size) || size < 0) throw invalidArgument(`layer ${value} can't have ${size} bytes`);
  return { digest: digest(value), size };
}

function bytesParam(query: Query, name: string): number {
  const value = query.text(name);
  if (!/^\d{1,15}$/.test(value)) throw invalidArgument(`${name}=${JSON.stringify(value)} is no number of bytes`);
  return Number(value);
}

/** What another engine needs to have the image too: an ImageOffer. */
export const offerImage = endpoint({
  method: "GET",
  path: "/berth/images/{name*}/offer",
  handler: async ({ services, params, query, api }) => {
    const platform = platformParam(query, api, 24);
    return json(await services.images.offer(params.name!, platform === undefined ? {} : { platform }));
  },
});

/** The bytes of a layer of an offer, from `start` on. */
export const offeredLayer = endpoint({
  method: "GET",
  path: "/berth/images/{image}/layers/{digest}",
  handler: async ({ services, params, query, exchange }) => {
    const { stream } = await services.images.offeredLayer(digest(params.image!), digest(params.digest!), bytesParam(query, "start"));
    await sendBytes(exchange, { "Content-Type": "application/octet-stream" }, stream);
  },
});

/** Which layers of an offer this engine lacks, with the ranges of bytes that haven't come yet. */
export const missingLayers = endpoint({
  method: "POST",
  path: "/berth/images/missing",
  body: object({ diffIds: texts, layers: list(layer) }),
  handler: async ({ services, body }) =>
    json({ missing: await services.images.missingLayers({ diffIds: body.diffIds.map(digest), layers: body.layers.map(layerOf) }) }),
});

/** Takes bytes of a layer of `size` bytes, from `start` on. What came is kept, also where the connection ends before the rest. */
export const receiveLayer = endpoint({
  method: "PUT",
  path: "/berth/images/layers/{digest}",
  handler: async ({ services, params, query, exchange }) => {
    const expected = layerOf({ digest: params.digest!, size: bytesParam(query, "size") });
    await services.images.receiveLayer(expected, bytesParam(query, "start"), exchange.body.stream() as unknown as AsyncIterable<Uint8Array>);
    return noContent;
  },
});

/** Makes an image of an offer whose layers came; JSON lines as pull has them. */
export const copyImage = endpoint({
  method: "POST",
  path: "/berth/images/copy",
  body: object({ reference: text, platform: text, root: text, digested: bool, documents: texts }),
  handler: async ({ services, body, exchange, signal }) => {
    const documents = body.documents.map((each) => Buffer.from(each, "base64"));
    const offer = { reference: body.reference, platform: body.platform, root: digest(body.root), digested: body.digested, documents };
    const progress = new ProgressStream(exchange);
    await progress.run(async () => void (await services.images.copy(offer, { onProgress: progress.send, signal })));
  },
});
