import { digestOf, type Digest } from "./digest.ts";

/** The chain id of layers, lowest first: OCI image-spec, config.md, "Layer ChainID". @throws RangeError for no layers */
export function chainId(diffIds: readonly Digest[]): Digest {
  const chain = chainIds(diffIds).at(-1);
  if (chain === undefined) throw new RangeError("the chain id of no layers");
  return chain;
}

/** The chain id of each layer, lowest first. */
export function chainIds(diffIds: readonly Digest[]): Digest[] {
  const chains: Digest[] = [];
  for (const diffId of diffIds) {
    const below = chains.at(-1);
    chains.push(below === undefined ? diffId : digestOf(`${below} ${diffId}`));
  }
  return chains;
}
