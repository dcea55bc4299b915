import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { run } from "./network-lab.ts";

/** Unpacked packages over the host's /usr and /etc, as their installation would leave them, in the mount namespace of this process alone. */
export interface OverHost extends AsyncDisposable {
  /** A directory that goes with it. */
  work: string;
}

/** @param trees where packages are unpacked */
export async function layOverHost(trees: readonly string[]): Promise<OverHost> {
  const work = mkdtempSync(join(tmpdir(), "berth-over-host-"));
  const script = [
    `mount --make-rprivate / && mount -t tmpfs none ${work}`,
    ...["usr", "etc"].flatMap((name) => [
      `mkdir -p ${work}/${name} ${work}/${name}-work && chmod 755 ${work}/${name}`,
      `lower=; for tree in ${trees.join(" ")}; do [ ! -d $tree/${name} ] || lower=$lower$tree/${name}:; done`,
      `mount -t overlay overlay -o lowerdir=$lower/${name},upperdir=${work}/${name},workdir=${work}/${name}-work /${name}`,
    ]),
    "chmod 755 /etc /usr",
  ];
  await run("sh", "-ec", script.join("\n"));
  return {
    work,
    [Symbol.asyncDispose]: async () => {
      await run("sh", "-c", `umount -l /etc /usr; umount -l ${work}; true`);
      rmSync(work, { recursive: true, force: true });
    },
  };
}
