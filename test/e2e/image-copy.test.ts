import { afterAll, describe, expect, test } from "bun:test";
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { triple, unpackedProgram } from "./debian.ts";
import { dockerdPath, startDockerd } from "./dockerd.ts";
import { berth, run, suiteEngine, until, type Output } from "./harness.ts";

/** Engines reached by ssh, and images copied between them. The ssh here runs the command of the other host at once, for the second engine. */

const folder = mkdtempSync(join(tmpdir(), "berth-copy-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe("by ssh", () => {
  const here = suiteEngine();
  const there = suiteEngine();
  const log = join(folder, "ssh.log");

  /** `most`: reads of up to 4 KiB before the connection is lost. */
  function fakeSsh(most?: number): string {
    const bin = mkdtempSync(join(folder, "bin-"));
    const input = most === undefined ? "" : `dd bs=4096 count=${most} 2>/dev/null | `;
    writeFileSync(
      join(bin, "ssh"),
      `#!/bin/sh\necho "$@" >>${log}\nwhile [ "$1" != -- ]; do shift; done\nshift 2\nexport BERTH_HOST=unix://${there.socket} PATH=${dirname(berth)}:$PATH\n${input}sh -c "$*"\n`,
    );
    chmodSync(join(bin, "ssh"), 0o755);
    return bin;
  }

  /** Berth's command against the engine here, or another. */
  const command = (args: string[], options: { ssh?: string; stdin?: string | Uint8Array } = {}): Promise<Output> =>
    here.berth(args, { env: { PATH: `${options.ssh ?? fakeSsh()}:${process.env["PATH"]}` }, ...(options.stdin === undefined ? {} : { stdin: options.stdin }) });

  async function copied(...args: string[]): Promise<string> {
    const { code, stdout, stderr } = await command(["image", "copy", ...args]);
    expect([code, stderr]).toEqual([0, ""]);
    return stdout;
  }

  const onHost = async (args: string[], stdin?: string | Uint8Array): Promise<Output> =>
    command(["-H", "ssh://me@other:2222", ...args], stdin === undefined ? {} : { stdin });

  test("commands, streams both ways and exit codes", async () => {
    const bytes = crypto.getRandomValues(new Uint8Array(700_000));
    const sum = new Bun.CryptoHasher("sha256").update(bytes).digest("hex");
    expect((await onHost(["run", "-i", "--rm", "busybox", "sha256sum"], bytes)).stdout).toBe(`${sum}  -\n`);
    const { code, stdout, stderr } = await onHost(["run", "--rm", "busybox", "sh", "-c", "echo out; echo err >&2; exit 3"]);
    expect([code, stdout, stderr]).toEqual([3, "out\n", "err\n"]);
    expect(readFileSync(log, "utf8").split("\n")[0]).toStartWith("-o ConnectTimeout=30 -T -l me -p 2222 -- other sh -c 'if command -v berth");
  });

  test("what ssh says is told", async () => {
    const bin = mkdtempSync(join(folder, "bin-"));
    writeFileSync(join(bin, "ssh"), "#!/bin/sh\necho 'Permission denied (publickey).' >&2\nexit 255\n");
    chmodSync(join(bin, "ssh"), 0o755);
    const { code, stderr } = await command(["-H", "ssh://other", "ps"], { ssh: bin });
    expect([code, stderr]).toEqual([1, "error during connect to ssh://other: Permission denied (publickey).\n"]);
  });

  test("an image goes over, then only what is new; both ways, by name of a context too", async () => {
    await here.ok("tag", "busybox", "one:1");
    await copied("one:1", "ssh://other");
    expect(await copied("one:1", "ssh://other")).toContain("0 of 1 layers, 0 bytes");
    await Bun.write(join(here.root, "build/Dockerfile"), "FROM busybox\nRUN head -c 300000 /dev/urandom >/big\nLABEL a=b\n");
    await here.ok("build", "-qt", "two:1", join(here.root, "build"));
    const said = await copied("two:1", "ssh://other");
    expect(said).toContain("Copying two:1 (linux/amd64): 1 of 2 layers, ".replace("amd64", process.arch === "x64" ? "amd64" : "arm64"));
    const about = ["image", "inspect", "two:1", "-f", "{{.Id}} {{.RootFS.Layers}} {{.RepoDigests}}"];
    expect(await there.ok(...about)).toBe(await here.ok(...about));
    expect(await there.ok("run", "--rm", "two:1", "wc", "-c", "/big")).toBe("300000 /big");
    expect(await copied("two:1", "ssh://other")).toContain("0 of 2 layers, 0 bytes");

    await there.ok("build", "-qt", "three:1", "--label", "c=d", join(here.root, "build"));
    await here.berth(["context", "create", "other", "--docker", "host=ssh://other"]);
    expect(await copied("-q", "other", "three:1")).toBe("three:1\n");
    expect(await here.ok("run", "--rm", "three:1", "wc", "-c", "/big")).toBe("300000 /big");
  });

  test("a copy that broke off goes on where it was", async () => {
    await Bun.write(join(here.root, "large/Dockerfile"), "FROM busybox\nRUN head -c 8000000 /dev/urandom >/large\n");
    await here.ok("build", "-qt", "large:1", join(here.root, "large"));
    const cut = await command(["image", "copy", "large:1", "ssh://other"], { ssh: fakeSsh(800) });
    expect(cut.code).not.toBe(0);
    expect(await there.refused("image", "inspect", "large:1")).toContain("No such image");
    const bytes = (text: string): number => Number(/layers, (\d+) bytes/.exec(text)![1]);
    const again = bytes(await copied("large:1", "ssh://other"));
    expect(bytes(cut.stdout)).toBeGreaterThan(8_000_000);
    expect(again).toBeGreaterThan(4_000_000);
    expect(again).toBeLessThan(bytes(cut.stdout) - 1_000_000);
    expect(await there.ok("run", "--rm", "large:1", "sha256sum", "/large")).toBe(await here.ok("run", "--rm", "large:1", "sha256sum", "/large"));
  });

  test("what came damaged is refused and thrown away", async () => {
    await Bun.write(join(here.root, "bad/Dockerfile"), "FROM busybox\nRUN echo bad >/bad\n");
    await here.ok("build", "-qt", "bad:1", join(here.root, "bad"));
    const offer = (await (await here.api("GET", "/v1.55/berth/images/bad:1/offer")).json()) as { layers: { digest: string; size: number }[] };
    const { digest, size } = offer.layers.at(-1)!;
    const put = (path: string, body: Uint8Array): Promise<Response> =>
      fetch(`http://engine/v1.55/berth/images/layers/${path}`, { unix: there.socket, method: "PUT", body } as RequestInit);
    expect((await put(`${digest}?size=${size}&start=0`, new Uint8Array(size))).status).toBe(204);
    const answer = await there.api("POST", "/v1.55/berth/images/copy", offer);
    expect(await answer.text()).toContain("came damaged: copy the image again");
    expect(await there.refused("image", "inspect", "bad:1")).toContain("No such image");
    expect(await copied("bad:1", "ssh://other")).toContain("1 of 2 layers");
    expect(await there.ok("run", "--rm", "bad:1", "cat", "/bad")).toBe("bad");

    for (const path of [`${digest}?size=-1&start=0`, `${digest}?size=5&start=6`, `${digest}?size=1&start=0`, "sha256:zz?size=1&start=0", `${digest}?start=0`])
      expect((await put(path, new Uint8Array(5))).status).toBe(400);
    for (const body of [
      { ...offer, root: `sha256:${"0".repeat(64)}` },
      { ...offer, documents: [] },
      { ...offer, documents: ["AAAA"] },
      {},
      { ...offer, reference: "Not A Name" },
    ])
      expect((await there.api("POST", "/v1.55/berth/images/copy", body)).status).toBe(400);
    expect((await here.api("GET", "/v1.55/berth/images/nothing:1/offer")).status).toBe(404);
    expect((await here.api("GET", `/v1.55/berth/images/${(await here.ok("image", "inspect", "-f", "{{.Id}}", "bad:1")).slice(7)}/offer`)).status).toBe(400);
  });

  test("mistakes are told", async () => {
    const refusal = async (...args: string[]): Promise<string> => (await command(["image", "copy", ...args])).stderr;
    expect(await refusal("nothing:1", "ssh://other")).toContain("No such image: nothing:1");
    expect(await refusal("a", "b")).toContain("neither a nor b is an engine's address");
    expect(await refusal("ssh://a", "ssh://b")).toContain("both arguments are engines");
    expect(await refusal("busybox", "ssh://-oProxyCommand=x")).toContain("that is no host's name");
    expect(await refusal("--platform", "linux/s390x", "busybox", "ssh://other")).toContain("platform");
  });

  const sshd = unpackedProgram("usr/sbin/sshd", "openssh-server");
  // Debian's sshd is linked with it; a host may lack it
  const libraries = `${unpackedProgram("usr/lib", "libwrap0")}/${triple}`;
  test.skipIf(sshd === undefined || Bun.which("ssh") === null)("through a real sshd", async () => {
    const config = join(folder, "sshd");
    mkdirSync(config);
    for (const key of ["host", "user"]) await run(["ssh-keygen", "-qt", "ed25519", "-N", "", "-f", join(config, key)]);
    writeFileSync(
      join(config, "authorized"),
      `environment="BERTH_HOST=unix://${there.socket}",environment="PATH=${dirname(berth)}:${process.env["PATH"]}" ${readFileSync(join(config, "user.pub"), "utf8")}`,
    );
    writeFileSync(
      join(config, "sshd_config"),
      `HostKey ${config}/host\nAuthorizedKeysFile ${config}/authorized\nStrictModes no\nUsePAM no\nPermitRootLogin yes\nPermitUserEnvironment yes\nPidFile none\n`,
    );
    // sshd for one connection, its own user known and its folder there for it alone
    const inside = `mount --make-rprivate / && mount -t tmpfs none /run && mkdir /run/sshd && (cat /etc/passwd; echo sshd:x:65534:65534::/run/sshd:/bin/false) >${config}/passwd && mount --bind ${config}/passwd /etc/passwd && LD_LIBRARY_PATH=${libraries} exec ${sshd} -i -e -f ${config}/sshd_config 2>>${config}/log`;
    writeFileSync(join(config, "connect"), `#!/bin/sh\nexec unshare --mount sh -c '${inside}'\n`);
    chmodSync(join(config, "connect"), 0o755);
    const bin = mkdtempSync(join(folder, "bin-"));
    const options = `-F none -i ${config}/user -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR -o ProxyCommand=${config}/connect`;
    writeFileSync(join(bin, "ssh"), `#!/bin/sh\nexec ${Bun.which("ssh")} ${options} "$@"\n`);
    chmodSync(join(bin, "ssh"), 0o755);
    const { code, stdout, stderr } = await command(["-H", "ssh://root@other", "run", "-i", "--rm", "busybox", "cat"], { ssh: bin, stdin: "hello" });
    expect([code, stdout, stderr]).toEqual([0, "hello", ""]);
    await here.ok("tag", "busybox", "real:1");
    expect((await command(["image", "copy", "real:1", "ssh://root@other"], { ssh: bin })).code).toBe(0);
    expect(await there.ok("image", "inspect", "-f", "{{.RepoTags}}", "real:1")).toContain("real:1");
  });

  const path = dockerdPath();
  test.skipIf(path === undefined)("a Docker daemon is given, and gives, the whole image", async () => {
    await using daemon = await startDockerd(path!);
    await here.ok("tag", "busybox", "whole:1");
    expect(await copied("whole:1", `unix://${daemon.socket}`)).toContain("can't tell what an image lacks: all of whole:1 is copied");
    await here.ok("rmi", "whole:1");
    expect(await copied(`unix://${daemon.socket}`, "whole:1")).toContain("Loaded image: whole:1");
  });

  test("nothing of it stays", async () => {
    await until("the tunnels' folders are gone", () => Bun.spawnSync(["sh", "-c", "ls -d /tmp/berth-ssh-* 2>/dev/null"]).stdout.length === 0);
  });
});
