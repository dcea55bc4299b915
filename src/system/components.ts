import type { Runtimes } from "../runtime/types.ts";

export interface Component {
  Name: string;
  Version: string;
  Details: Record<string, string>;
}

/** The programs that the engine works with, as they name themselves; one that doesn't answer is left out. Each is asked once. */
export function createComponents(runtime: Runtimes): () => Promise<Component[]> {
  const known = new Map<string, Promise<Component | undefined>>();
  const ask = (name: string, program: string): Promise<Component | undefined> => {
    let found = known.get(program);
    if (found === undefined) {
      found = describe(name, program);
      known.set(program, found);
    }
    return found;
  };
  return async () => {
    const { defaultName, available } = runtime;
    const path = available.get(defaultName)?.path;
    const found = await Promise.all([path === undefined ? undefined : ask(defaultName, path), ask("conmon", "conmon")]);
    return found.filter((component) => component !== undefined);
  };
}

/** `crun version 1.8.1` and `commit: …`; `conmon version 2.1.6` and `commit: unknown`. */
async function describe(name: string, program: string): Promise<Component | undefined> {
  const path = Bun.which(program);
  if (path === null) return undefined;
  const child = Bun.spawn([path, "--version"], { stdio: ["ignore", "pipe", "ignore"] });
  const text = await new Response(child.stdout).text();
  const version = /version:? (\S+)/i.exec(text)?.[1];
  if (version === undefined) return undefined;
  const commit = /commit: (\S+)/i.exec(text)?.[1] ?? "";
  return { Name: name, Version: version, Details: { GitCommit: commit === "unknown" ? "" : commit } };
}
