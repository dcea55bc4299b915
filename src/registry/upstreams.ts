import type { RegistryClient, RemoteRepository } from "../distribution/types.ts";
import { parseReference } from "../oci/reference.ts";

export interface Upstream {
  /** Repositories below it are copies: `ghcr` makes `ghcr/owner/name` one of `owner/name` there. Empty: all are. */
  prefix: string;
  /** Host, as in an image's name: docker.io, ghcr.io, localhost:5001. */
  registry: string;
  username?: string;
  password?: string;
}

export interface Upstreams {
  /** What a repository is a copy of; undefined where it is the registry's own. @throws EngineError invalidArgument for a name that can't be one there */
  of(repository: string): RemoteRepository | undefined;
  /** Whether it is a copy, and of which registry. */
  registryOf(repository: string): string | undefined;
  readonly prefixes: readonly string[];
}

/** Each remembers its tokens. */
const maxKnown = 1000;

export function createUpstreams(list: readonly Upstream[], client: Pick<RegistryClient, "repository">): Upstreams {
  // the longest prefix speaks first
  const sorted = [...list].sort((a, b) => b.prefix.length - a.prefix.length);
  const known = new Map<string, RemoteRepository>();
  const find = (repository: string): Upstream | undefined => sorted.find(({ prefix }) => prefix === "" || repository.startsWith(`${prefix}/`));
  return {
    prefixes: sorted.map(({ prefix }) => prefix),
    registryOf: (repository) => find(repository)?.registry,
    of: (repository) => {
      const upstream = find(repository);
      if (upstream === undefined) return undefined;
      const there = known.get(repository);
      if (there !== undefined) return there;
      const { prefix, registry, username, password } = upstream;
      const path = prefix === "" ? repository : repository.slice(prefix.length + 1);
      const credentials = username === undefined ? {} : { username, password: password ?? "" };
      const remote = client.repository(parseReference(`${registry}/${path}`), { credentials });
      if (known.size >= maxKnown) known.delete(known.keys().next().value!);
      known.set(repository, remote);
      return remote;
    },
  };
}
