import { digestOf, type Digest } from "./digest.ts";

/** The chain id of layers, lowest first: OCI image-spec, config.md, "Layer ChainID". @throws RangeError for no layers */
export function chainId(diffIds: readonly Digest[]): Digest {
  let chain = diffIds[0];
  if (chain === undefined) throw new RangeError("the chain id of no layers");
  for (const diffId of diffIds.slice(1)) chain = digestOf(`${chain} ${diffId}`);
  return chain;
}
