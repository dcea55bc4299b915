import { readFileSync } from "node:fs";
import { tarOf } from "../src/lib/tar-writer.ts";
import { hostPlatform } from "../src/oci/platform.ts";

/** What `docker save` would write of an image that holds a static busybox and its applets, and nothing else. Other `labels` make another image. */
export function busyboxArchive(name: string, labels: Record<string, string> = {}): Uint8Array {
  const body = new Uint8Array(readFileSync("/bin/busybox"));
  const applets = Bun.spawnSync(["/bin/busybox", "--list"])
    .stdout.toString()
    .split("\n")
    .filter((applet) => applet !== "" && applet !== "busybox");
  const layer = tarOf([
    ...["bin/", "etc/", "proc/", "sys/", "dev/", "tmp/"].map((folder) => ({ name: folder, type: "directory" as const, mode: 0o755 })),
    { name: "bin/busybox", type: "file", mode: 0o755, body },
    ...applets.map((applet) => ({ name: `bin/${applet}`, type: "symlink" as const, linkName: "busybox" })),
    { name: "etc/passwd", type: "file", body: "root:x:0:0:root:/root:/bin/sh\n", mode: 0o644 },
  ]);
  const diffId = `sha256:${new Bun.CryptoHasher("sha256").update(layer).digest("hex")}`;
  const config = {
    ...hostPlatform(),
    config: { Env: ["PATH=/bin"], Cmd: ["sh"], Labels: labels },
    rootfs: { type: "layers", diff_ids: [diffId] },
  };
  return tarOf([
    { name: "config.json", type: "file", body: JSON.stringify(config) },
    { name: "layer.tar", type: "file", body: new Uint8Array(layer) },
    { name: "manifest.json", type: "file", body: JSON.stringify([{ Config: "config.json", RepoTags: [`${name}:latest`], Layers: ["layer.tar"] }]) },
  ]);
}
