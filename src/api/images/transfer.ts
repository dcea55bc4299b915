import { applyChanges } from "../changes.ts";
import { registryAuth } from "../auth.ts";
import { endpoint, type Call } from "../endpoint.ts";
import { invalidArgument, messageOf, permissionDenied } from "../../lib/errors.ts";
import { familiarName, familiarReference } from "../../oci/reference.ts";
import { platformParam, platformsParam } from "../platform.ts";
import { sendBytes } from "../streams/bytes.ts";
import { ProgressStream } from "../streams/progress.ts";
import { pullReference, repoTag } from "./names.ts";

/** Pull (`fromImage`) or import (`fromSrc`). */
export const createImage = endpoint({
  method: "POST",
  path: "/images/create",
  handler: (call) => (call.query.text("fromImage") === "" ? importImage(call) : pullImage(call)),
});

async function pullImage({ services, query, api, exchange, signal }: Call): Promise<void> {
  const { reference, allTags } = pullReference(query.text("fromImage"), query.text("tag"));
  if (familiarName(reference) === "scratch") throw permissionDenied("'scratch' is a reserved name");
  const platform = api >= 32 ? query.optional("platform") : undefined;
  const auth = registryAuth(exchange.head.headers);
  const progress = new ProgressStream(exchange);
  await progress.run(async () => {
    await services.images.pull(familiarReference(reference), {
      onProgress: progress.send,
      signal,
      allTags,
      ...(auth === undefined ? {} : { auth }),
      ...(platform === undefined ? {} : { platform }),
    });
  });
}

async function importImage({ services, query, api, exchange, signal }: Call): Promise<void> {
  const source = query.text("fromSrc");
  if (source === "") throw invalidArgument("either fromImage or fromSrc must be given");
  const reference = repoTag(query.text("repo"), query.text("tag"));
  const platform = api >= 32 ? query.optional("platform") : undefined;
  const config = applyChanges({}, query.all("changes"));
  const progress = new ProgressStream(exchange);
  await progress.run(async () => {
    const stream = source === "-" ? exchange.body.stream() : await download(source, progress, signal);
    await services.images.import(stream, {
      message: query.text("message") || `Imported from ${source}`,
      config,
      onProgress: progress.send,
      signal,
      ...(reference === undefined ? {} : { reference }),
      ...(platform === undefined ? {} : { platform }),
    });
  });
}

async function download(source: string, progress: ProgressStream, signal: AbortSignal): Promise<ReadableStream<Uint8Array>> {
  const url = source.includes("://") ? source : `http://${source}`;
  if (!/^https?:\/\//.test(url) || !URL.canParse(url)) throw invalidArgument(`can't import from ${JSON.stringify(source)}: want an http or https address`);
  let response: Response;
  try {
    response = await fetch(url, { signal });
  } catch (error) {
    throw invalidArgument(`can't import from ${url}: ${messageOf(error)}`, error);
  }
  if (!response.ok || response.body === null) throw invalidArgument(`can't import from ${url}: the server answered ${response.status}`);
  progress.send({ status: `Downloading from ${url}` });
  return response.body;
}

export const pushImage = endpoint({
  method: "POST",
  path: "/images/{name*}/push",
  handler: async ({ services, params, query, api, exchange, signal }) => {
    const tag = query.text("tag");
    const platform = platformParam(query, api, 46);
    const reference = tag === "" ? params.name! : (repoTag(params.name!, tag) ?? params.name!);
    const auth = registryAuth(exchange.head.headers);
    const progress = new ProgressStream(exchange);
    await progress.run(() =>
      services.images.push(reference, {
        onProgress: progress.send,
        signal,
        ...(auth === undefined ? {} : { auth }),
        ...(platform === undefined ? {} : { platform }),
      }),
    );
  },
});

export const loadImages = endpoint({
  method: "POST",
  path: "/images/load",
  handler: async ({ services, query, api, exchange, signal }) => {
    const platforms = platformsParam(query, api);
    const progress = new ProgressStream(exchange);
    const quiet = query.bool("quiet", true);
    // dockerd tells of every failure in the stream, and docker-py's ImageLoadError is read from there
    await progress.run(() => services.images.load(exchange.body.stream(), { platforms, onProgress: progress.send, quiet, signal }), "stream");
  },
});

const saveHeaders = { "Content-Type": "application/x-tar" };

export const saveImage = endpoint({
  method: "GET",
  path: "/images/{name*}/get",
  handler: async ({ services, params, query, api, exchange, signal }) =>
    await sendBytes(exchange, saveHeaders, await services.images.save([params.name!], { platforms: platformsParam(query, api), signal })),
});

export const saveImages = endpoint({
  method: "GET",
  path: "/images/get",
  handler: async ({ services, query, api, exchange, signal }) => {
    const names = query.all("names");
    if (names.length === 0) throw invalidArgument("no images were named to save");
    return await sendBytes(exchange, saveHeaders, await services.images.save(names, { platforms: platformsParam(query, api), signal }));
  },
});
