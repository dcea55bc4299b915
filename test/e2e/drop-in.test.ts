import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import { skipped } from "../skips.ts";
import { suiteEngine, until } from "./harness.ts";

/** Small things that the docker command, Compose and libraries were seen to rely on, as dockerd 26.1 and 28 answer them. */
describe.skipIf(skipped("root", "overlay", "docker"))("a drop-in", () => {
  const engine = suiteEngine();
  const ok = (...args: string[]): Promise<string> => engine.ok(...args);
  const refused = (...args: string[]): Promise<string> => engine.refused(...args);
  const answer = async (method: string, path: string, body?: unknown): Promise<{ status: number; message?: string }> => {
    const response = await engine.api(method, path, body);
    return { status: response.status, ...((await response.json()) as { message?: string }) };
  };

  test("a partner that isn't there is a 400 at create: on a 404 the docker command would pull the image", async () => {
    const partners = [{ VolumesFrom: ["nope"] }, { PidMode: "container:nope" }, { IpcMode: "container:nope" }];
    for (const HostConfig of partners) {
      expect(await answer("POST", "/v1.45/containers/create", { Image: "busybox", HostConfig })).toEqual({ status: 400, message: "No such container: nope" });
    }
    expect(await answer("POST", "/v1.45/containers/create", { Image: "busybox", HostConfig: { Links: ["nope:x"] } })).toEqual({
      status: 400,
      message: "could not get container for nope: No such container: nope",
    });
    expect(await refused("run", "--rm", "--volumes-from", "nope", "busybox", "true")).not.toContain("Unable to find image");
  });

  test("links: an entry in /etc/hosts on the default bridge, a name of one's own on others", async () => {
    await ok("run", "-d", "--name", "db", "busybox", "sleep", "1000");
    const address = await ok("inspect", "db", "--format", "{{.NetworkSettings.Networks.bridge.IPAddress}}");
    expect(await ok("run", "--rm", "--link", "db:store", "busybox", "cat", "/etc/hosts")).toContain(`${address}\tstore`);
    await ok("create", "--name", "web", "--link", "db:store", "busybox", "true");
    expect(await ok("inspect", "web", "--format", "{{json .HostConfig.Links}}")).toBe('["/db:/web/store"]');
    expect(await ok("ps", "-a", "--no-trunc", "--filter", "name=store", "--format", "{{.Names}}")).toBe("db,web/store");
    expect(await ok("inspect", "web/store", "--format", "{{.Name}}")).toBe("/db");
    await ok("rename", "db", "base");
    expect(await ok("inspect", "web", "--format", "{{json .HostConfig.Links}}")).toBe('["/base:/web/store"]');
    await ok("rename", "web", "site");
    expect(await ok("inspect", "site", "--format", "{{json .HostConfig.Links}}")).toBe('["/base:/site/store"]');
    expect(await ok("inspect", "site/store", "--format", "{{.Name}}")).toBe("/base");
    await ok("rename", "base", "db");
    await ok("rename", "site", "web");
    expect(await ok("rm", "--link", "web/store")).toBe("web/store");
    expect((await engine.docker(["inspect", "web/store"])).code).not.toBe(0);
    expect(await ok("inspect", "web", "--format", "{{json .HostConfig.Links}}")).toBe("null");

    await ok("network", "create", "back");
    await ok("network", "connect", "back", "db");
    const inner = await ok("inspect", "db", "--format", "{{.NetworkSettings.Networks.back.IPAddress}}");
    expect(await ok("run", "--rm", "--network", "back", "--link", "db:store", "busybox", "nslookup", "store")).toContain(`Address: ${inner}`);
    expect((await engine.docker(["run", "--rm", "--network", "back", "busybox", "nslookup", "store"])).code).not.toBe(0);
    await ok("run", "--rm", "--network", "back", "--link", "not-yet:x", "busybox", "true");
    await ok("rm", "-f", "db", "web");
    await ok("network", "rm", "back");
  });

  test("a network's name may have spaces", async () => {
    await ok("network", "create", "my net");
    expect(await ok("run", "--rm", "--network", "my net", "--name", "inside", "busybox", "nslookup", "inside")).toContain("Name:");
    expect(await ok("network", "inspect", "my net", "--format", "{{.Name}}")).toBe("my net");
    await ok("network", "rm", "my net");
  });

  test("a container at rest says which network it was on", async () => {
    const network = await ok("network", "create", "rest");
    await ok("run", "--name", "resting", "--network", "rest", "busybox", "true");
    expect(await ok("inspect", "resting", "--format", "{{.NetworkSettings.Networks.rest.NetworkID}}")).toBe(network);
    await ok("rm", "resting");
    await ok("network", "rm", "rest");
  });

  test("only a shareable IPC namespace is lent", async () => {
    await ok("run", "-d", "--name", "own", "busybox", "sleep", "1000");
    expect(await refused("run", "--rm", "--ipc", "container:own", "busybox", "true")).toContain("non-shareable IPC (hint: use IpcMode:shareable");
    await ok("run", "-d", "--name", "lent", "--ipc", "shareable", "busybox", "sh", "-c", "touch /dev/shm/here; sleep 1000");
    expect(await ok("run", "--rm", "--ipc", "container:lent", "busybox", "sh", "-c", "until ls /dev/shm/here; do sleep 0.1; done")).toContain("/dev/shm/here");
    await ok("rm", "-f", "own", "lent");
  });

  test("errors name the verb as Docker's do", async () => {
    await ok("create", "--name", "one", "busybox", "true");
    await ok("create", "--name", "two", "busybox", "true");
    expect(await refused("kill", "nope")).toContain("cannot kill container: nope: No such container: nope");
    expect(await refused("kill", "-s", "BOGUS", "one")).toContain("cannot kill container: one: invalid signal: BOGUS");
    expect(await refused("rename", "one", "two")).toContain('Error when allocating new name: Conflict. The container name "/two" is already in use');
    await ok("rm", "one", "two");
  });

  test("logs --details shows what the log options name", async () => {
    await ok("run", "--name", "told", "--log-opt", "labels=a", "--log-opt", "env=B", "-l", "a=1", "-e", "B=2", "busybox", "echo", "hi");
    expect(await ok("logs", "--details", "told")).toBe("B=2,a=1 hi");
    await ok("rm", "told");
  });

  test("--init: a small init that hands signals on", async () => {
    expect(await ok("run", "--rm", "--init", "busybox", "ps", "-o", "pid,args")).toMatch(/1 \/sbin\/docker-init -- ps/);
    await ok("run", "-d", "--name", "tended", "--init", "busybox", "sleep", "1000");
    // a signal before tini has set itself up is lost, as for every process 1
    await until("tini has its child", async () => (await ok("top", "tended")).split("\n").length === 3);
    await ok("stop", "tended");
    expect(await ok("inspect", "tended", "--format", "{{.State.ExitCode}}")).toBe("143");
    await ok("rm", "tended");
  });

  test("a stop right after the start reaches the program, however slowly that comes up", async () => {
    for (let round = 0; round < 4; round++) {
      // a hundredth of a processor: the runtime takes several periods of 100 ms from the start byte to the program
      await ok("create", "--name", "slow", "--init", "--cpus", "0.01", "busybox", "sleep", "1000");
      expect((await engine.api("POST", "/v1.45/containers/slow/start")).status).toBe(204);
      expect((await engine.api("POST", "/v1.45/containers/slow/stop?t=20")).status).toBe(204);
      expect(await ok("inspect", "slow", "--format", "{{.State.ExitCode}}")).toBe("143");
      await ok("rm", "slow");
    }
  });

  test("everyone has a HOME, who has no account too", async () => {
    expect(await ok("run", "--rm", "-u", "5000", "busybox", "sh", "-c", "echo $HOME")).toBe("/");
    expect(await ok("run", "--rm", "-u", "worker", "-e", "HOME=", "busybox", "sh", "-c", "echo $HOME")).toBe("/home/worker");
    await ok("run", "-d", "--name", "lodger", "-u", "5000", "busybox", "sleep", "1000");
    expect(await ok("exec", "lodger", "sh", "-c", "echo $HOME")).toBe("/");
    expect(await ok("exec", "-u", "root", "lodger", "sh", "-c", "echo $HOME")).toBe("/root");
    await ok("rm", "-f", "lodger");
  });

  test("events tell of verbs that change nothing too", async () => {
    const before = Math.floor(Date.now() / 1000);
    await ok("run", "-d", "--name", "watched", "busybox", "sleep", "1000");
    await ok("top", "watched");
    await ok("commit", "watched", "kept:1");
    await ok("rm", "-f", "watched");
    await ok("save", "-o", join(engine.root, "kept.tar"), "kept:1");
    await ok("rmi", "kept:1");
    await ok("container", "prune", "-f");
    await ok("network", "prune", "-f");
    const lines = (await (await engine.api("GET", `/v1.45/events?since=${before}&until=${Math.ceil(Date.now() / 1000)}`)).text()).trim().split("\n");
    const events = lines.map((line) => JSON.parse(line) as { Type: string; Action: string; Actor: { Attributes: Record<string, string> } });
    const told = events.map(({ Type, Action }) => `${Type} ${Action}`);
    for (const event of ["container top", "container commit", "image save", "container prune", "network prune"]) expect(told).toContain(event);
    expect(events.find(({ Action }) => Action === "commit")?.Actor.Attributes["imageRef"]).toBe("kept:1");
  });

  test("every path takes OPTIONS, and a version that is too old is told in JSON", async () => {
    expect((await engine.api("OPTIONS", "/v1.45/containers/json")).status).toBe(200);
    expect(await answer("GET", "/v1.23/info")).toEqual({
      status: 400,
      message: "client version 1.23 is too old. Minimum supported API version is 1.24, please upgrade your client to a newer version",
    });
  });

  test("a registry that isn't there: 500; an image to push that isn't there: told in the stream", async () => {
    expect(await answer("POST", "/v1.45/images/create?fromImage=127.0.0.1:9/x&tag=1")).toMatchObject({ status: 500 });
    expect(await answer("GET", "/v1.45/distribution/127.0.0.1:9/x/json")).toMatchObject({ status: 500 });
    const push = await engine.api("POST", "/v1.45/images/127.0.0.1:9/nope/push");
    expect(push.status).toBe(200);
    expect(await push.text()).toContain('"error":"An image does not exist locally with the tag: 127.0.0.1:9/nope"');
  });

  test("pull -a takes all tags, and the digest of an image is known without a pull", async () => {
    await using _registry = await engine.registry();
    for (const tag of ["a", "b"]) {
      await ok("tag", "busybox", `127.0.0.1:5000/all:${tag}`);
      await ok("push", "-q", `127.0.0.1:5000/all:${tag}`);
      await ok("rmi", `127.0.0.1:5000/all:${tag}`);
    }
    await ok("pull", "-q", "-a", "127.0.0.1:5000/all");
    expect((await ok("images", "127.0.0.1:5000/all", "--format", "{{.Tag}}")).split("\n").sort()).toEqual(["a", "b"]);
    const platforms = ((await (await engine.api("GET", "/v1.45/distribution/127.0.0.1:5000/all:a/json")).json()) as { Platforms: unknown }).Platforms;
    expect(platforms).toEqual([{ architecture: process.arch === "arm64" ? "arm64" : "amd64", os: "linux" }]);
    expect(await answer("GET", "/v1.45/distribution/127.0.0.1:5000/all:c/json")).toMatchObject({ status: 404 });
  });

  test("prune --all leaves volumes that were made with options", async () => {
    await ok("volume", "create", "-o", "type=none", "-o", `device=${join(engine.root, "config")}`, "-o", "o=bind", "elsewhere");
    // `volume prune --all`, which docker 20.10 hasn't got
    expect((await engine.api("POST", `/v1.42/volumes/prune?filters=${encodeURIComponent('{"all":["true"]}')}`)).status).toBe(200);
    expect(await ok("volume", "ls", "-q")).toBe("elsewhere");
    await ok("volume", "rm", "elsewhere");
  });

  test("a container that ends while it is frozen for a commit is committed all the same", async () => {
    for (let round = 0; round < 10; round++) {
      await ok("create", "--name", "brief", "busybox", "touch", "/made");
      expect((await engine.api("POST", "/v1.45/containers/brief/start")).status).toBe(204);
      expect(await answer("POST", "/v1.45/commit?container=brief&repo=brief&pause=1")).toMatchObject({ status: 201 });
      await ok("rm", "-f", "brief");
    }
    await ok("rmi", "-f", "brief");
  });

  test("what can't be loaded is told in the stream", async () => {
    const request = { unix: engine.socket, method: "POST", body: "abc", headers: { "content-type": "application/x-tar" } } as RequestInit;
    const response = await fetch("http://engine/v1.45/images/load", request);
    expect(response.status).toBe(200);
    const told = (await response.json()) as { error: string; errorDetail: { message: string } };
    expect(told.error).toContain("tar");
    expect(told.errorDetail.message).toBe(told.error);
    const { code, stderr } = await engine.docker(["load"], { stdin: "abc" });
    expect(code).toBe(1);
    expect(stderr).toContain(told.error);
  });
});
