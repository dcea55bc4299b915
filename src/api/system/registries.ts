import { pullError } from "../../distribution/errors.ts";
import { inspectRemote } from "../../distribution/inspect.ts";
import { notFound } from "../../lib/errors.ts";
import { parseReference, withDefaultTag } from "../../oci/reference.ts";
import { registryAuth } from "../auth.ts";
import { endpoint, json } from "../endpoint.ts";
import { object, text } from "../schema.ts";

export const auth = endpoint({
  method: "POST",
  path: "/auth",
  body: object({
    username: text.optional(),
    password: text.optional(),
    auth: text.optional(),
    serveraddress: text.optional(),
    identitytoken: text.optional(),
    registrytoken: text.optional(),
  }),
  handler: async ({ services, body, signal }) => {
    const { identityToken } = await services.registry.login(registryHost(body.serveraddress ?? ""), body, { signal });
    return json({ Status: "Login Succeeded", IdentityToken: identityToken ?? "" });
  },
});

/** `https://index.docker.io/v1/` is how clients call Docker Hub; else the host of an address with or without scheme. */
export function registryHost(address: string): string {
  const host = address.replace(/^https?:\/\//, "").replace(/\/.*$/, "");
  return host === "" || host === "index.docker.io" || host === "registry-1.docker.io" ? "docker.io" : host;
}

/** What a registry says of an image, for clients that want its digest without a pull. */
export const inspectDistribution = endpoint({
  method: "GET",
  path: "/distribution/{name*}/json",
  since: 30,
  handler: async ({ services, params, exchange, signal }) => {
    const reference = withDefaultTag(parseReference(params.name!));
    const credentials = registryAuth(exchange.head.headers);
    const repository = services.registry.repository(reference, credentials === undefined ? {} : { credentials });
    const version = reference.digest ?? reference.tag;
    if (version === undefined) throw notFound(`${params.name} names no tag and no digest`);
    const { descriptor, platforms } = await inspectRemote(repository, version, { signal }).catch((error: unknown) => {
      throw pullError(error, reference);
    });
    const { mediaType, digest, size } = descriptor;
    return json({ Descriptor: { mediaType, digest, size }, Platforms: platforms });
  },
});
