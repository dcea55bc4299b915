import { describe, expect, test } from "bun:test";
import { BuildArgs, platformArgs } from "./args.ts";
import { beginStage, cacheKey, defaultPath, evaluate, type Evaluation, type StageState } from "./evaluate.ts";
import { parseInstruction } from "./parse.ts";
import type { ImageRunConfig } from "../oci/image.ts";

const host = { os: "linux", architecture: "amd64" };

function start(config: ImageRunConfig = {}, given: Record<string, string | null> = {}): StageState {
  return beginStage(config, BuildArgs.create(given, platformArgs(host, host))).state;
}

function run(text: string, from: StageState = start(), escape = "\\"): Evaluation {
  return text.split("\n").reduce((last: Evaluation | undefined, line) => evaluate(last?.state ?? from, parseInstruction(line), escape), undefined)!;
}

describe("configuration", () => {
  const table: [string, ImageRunConfig][] = [
    ["ENV a=1", { Env: [defaultPath, "a=1"] }],
    ["ENV a=1\nENV a=2 b=$a", { Env: [defaultPath, "a=2", "b=1"] }],
    ["ENV a=hello\nENV a=bye b=$a c='$a' d=\"$a x\"", { Env: [defaultPath, "a=bye", "b=hello", "c=$a", "d=hello x"] }],
    ["ARG v=3\nENV a=$v", { Env: [defaultPath, "a=3"] }],
    ["ENV a=$v", { Env: [defaultPath, "a="] }],
    ['LABEL a=1 b="x y"\nLABEL a=2', { Labels: { a: "2", b: "x y" } }],
    ["EXPOSE 80 53/udp 8000-8002", { ExposedPorts: { "80/tcp": {}, "53/udp": {}, "8000/tcp": {}, "8001/tcp": {}, "8002/tcp": {} } }],
    ['ENV p="80 443"\nEXPOSE $p', { ExposedPorts: { "80/tcp": {}, "443/tcp": {} } }],
    ["VOLUME /a /b", { Volumes: { "/a": {}, "/b": {} } }],
    ["USER ${nobody:-web}", { User: "web" }],
    ["WORKDIR /a\nWORKDIR b\nWORKDIR ../c/", { WorkingDir: "/a/c" }],
    ["WORKDIR x", { WorkingDir: "/x" }],
    ["CMD echo $x", { Cmd: ["/bin/sh", "-c", "echo $x"] }],
    ['SHELL ["/bin/bash","-ec"]\nCMD x', { Cmd: ["/bin/bash", "-ec", "x"] }],
    ['CMD ["a"]\nENTRYPOINT ["b"]', { Cmd: ["a"], Entrypoint: ["b"] }],
    ["ONBUILD RUN x\nONBUILD COPY a b", { OnBuild: ["RUN x", "COPY a b"] }],
    ["STOPSIGNAL SIGUSR1", { StopSignal: "SIGUSR1" }],
    ["HEALTHCHECK --retries=2 CMD x", { Healthcheck: { Test: ["CMD-SHELL", "x"], Retries: 2 } }],
  ];
  for (const [text, wanted] of table) test(text, () => expect(run(text).state.config).toMatchObject(wanted as never));

  test("ENTRYPOINT forgets the base's CMD, not the stage's", () => {
    const base = start({ Cmd: ["base"] });
    expect(run('ENTRYPOINT ["b"]', base).state.config.Cmd).toBeNull();
    expect(run('CMD ["own"]\nENTRYPOINT ["b"]', base).state.config.Cmd).toEqual(["own"]);
  });

  test("the state before stays as it was", () => {
    const before = start({ Env: ["PATH=/x", "a=1"], Labels: { l: "1" } });
    const kept = JSON.stringify(before.config);
    run("ENV a=2\nLABEL l=2\nARG q=1", before);
    expect(JSON.stringify(before.config)).toBe(kept);
    expect(before.args.variables([]).has("q")).toBe(false);
  });

  test("a stage takes the base's configuration, but its triggers are handed out", () => {
    const { state, triggers } = beginStage({ Env: ["PATH=/x"], OnBuild: ["RUN a"], User: "u" }, BuildArgs.create({}, {}));
    expect(state.config).toEqual({ Env: ["PATH=/x"], User: "u" });
    expect(triggers).toEqual(["RUN a"]);
  });
});

describe("history, as Docker words it", () => {
  const table: [string, string][] = [
    ["ENV a=1 b=x", "/bin/sh -c #(nop)  ENV a=1 b=x"],
    ["ENV a x y", "/bin/sh -c #(nop)  ENV a=x y"],
    ["LABEL a=1", "/bin/sh -c #(nop)  LABEL a=1"],
    ['CMD ["a","b c"]', '/bin/sh -c #(nop)  CMD ["a" "b c"]'],
    ["CMD x", '/bin/sh -c #(nop)  CMD ["/bin/sh" "-c" "x"]'],
    ["ENTRYPOINT []", "/bin/sh -c #(nop)  ENTRYPOINT []"],
    ["EXPOSE 80", "/bin/sh -c #(nop)  EXPOSE 80"],
    ["VOLUME /a /b", "/bin/sh -c #(nop)  VOLUME [/a /b]"],
    ["USER u", "/bin/sh -c #(nop)  USER u"],
    ["WORKDIR /x", "/bin/sh -c #(nop) WORKDIR /x"],
    ["ARG a=1", "/bin/sh -c #(nop)  ARG a=1"],
    ["ONBUILD RUN x", "/bin/sh -c #(nop)  ONBUILD RUN x"],
    ['SHELL ["/bin/bash", "-c"]', "/bin/bash -c #(nop)  SHELL [/bin/bash -c]"],
    ["STOPSIGNAL 9", "/bin/sh -c #(nop)  STOPSIGNAL 9"],
    ["MAINTAINER me", "/bin/sh -c #(nop)  MAINTAINER me"],
    ["HEALTHCHECK --interval=90s --retries=3 CMD x", `/bin/sh -c #(nop)  HEALTHCHECK &{["CMD-SHELL" "x"] "1m30s" "0s" "0s" "0s" '\\x03'}`],
    ["RUN echo hi", "/bin/sh -c echo hi"],
    ['RUN ["a","b"]', "a b"],
    ["ARG a=1\nRUN echo $a", "|1 a=1 /bin/sh -c echo $a"],
    ["ARG b=2\nARG a=1\nENV b=9\nRUN x", "|1 a=1 /bin/sh -c x"],
  ];
  for (const [text, wanted] of table) test(text, () => expect(run(text).describe()).toBe(wanted));

  test("COPY holds the hash of its files", () => {
    expect(run("COPY --chown=1:2 a /b").describe("file:00")).toBe("/bin/sh -c #(nop) COPY --chown=1:2 file:00 in /b ");
  });

  test("proxies reach RUN and stay out of history, unless declared", () => {
    const given = { HTTP_PROXY: "http://p", other: "1" };
    const plain = run("RUN x", start({}, given));
    expect(plain.operation).toMatchObject({ kind: "run", env: [defaultPath, "HTTP_PROXY=http://p"] });
    expect(plain.describe()).toBe("|0 /bin/sh -c x");
    expect(run("ARG HTTP_PROXY\nRUN x", start({}, given)).describe()).toBe("|1 HTTP_PROXY=http://p /bin/sh -c x");
  });
});

describe("operations", () => {
  test("RUN with a document for the shell, beside a command, and for an interpreter of its own", () => {
    expect(run("RUN x").operation).toEqual({ kind: "run", args: ["/bin/sh", "-c", "x"], env: [defaultPath], script: undefined });
    const document = (text: string): unknown => evaluate(start(), parseInstruction(text), "\\").operation;
    expect(document("RUN <<EOF\na\nb\nEOF")).toMatchObject({ args: ["/bin/sh", "-c", "a\nb\n"] });
    expect(document("RUN cat <<A > /x\none\nA")).toMatchObject({ args: ["/bin/sh", "-c", "cat <<A > /x\none\nA"] });
    expect(document("RUN <<EOF\n#!/bin/awk -f\nx\nEOF")).toMatchObject({
      args: ["/dev/pipes/EOF"],
      script: { path: "/dev/pipes/EOF", content: "#!/bin/awk -f\nx\n" },
    });
  });

  const destinations: [string, string, string][] = [
    ["", "/x", "/x"],
    ["", "x", "/x"],
    ["/w", ".", "/w/"],
    ["/w", "./", "/w/"],
    ["/w", "../", "/"],
    ["/w", "d/", "/w/d/"],
    ["/w", "d/e", "/w/d/e"],
    ["", "../../etc", "/etc"],
  ];
  for (const [workdir, given, wanted] of destinations) {
    test(`COPY to ${given} in ${workdir || "/"}`, () => {
      expect(run(`COPY a ${given}`, start({ WorkingDir: workdir })).operation).toMatchObject({ destination: wanted });
    });
  }

  test("COPY expands all but --from, and documents unless quoted", () => {
    const state = start({ Env: ["PATH=/x", "v=1", "m=750"] });
    const made = evaluate(state, parseInstruction('COPY --chown=$v --chmod=$m a$v <<A <<"B" /d$v/\nx "$v"\nA\n$v\nB'), "\\").operation;
    expect(made).toMatchObject({
      sources: ["a1"],
      destination: "/d1/",
      chown: "1",
      chmod: 0o750,
      inline: [
        { name: "A", content: 'x "1"\n' },
        { name: "B", content: "$v\n" },
      ],
    });
  });

  const mistakes: [string, string][] = [
    ["COPY --chmod=u+x a b", "invalid chmod parameter: 'u+x'"],
    ["EXPOSE foo", "invalid containerPort: foo"],
    ["EXPOSE 70000", "invalid containerPort: 70000"],
    ["EXPOSE 80/icmp", "invalid proto: icmp"],
    ["VOLUME $nothing", "VOLUME specified can not be an empty string"],
    ["WORKDIR $nothing", "cannot normalize nothing"],
    ["ENV a=${", "syntax error: missing '}'"],
  ];
  for (const [text, message] of mistakes) test(text, () => expect(() => run(text)).toThrow(message));
  test("STOPSIGNAL FOO", () => expect(() => run("STOPSIGNAL FOO")).toThrow(/invalid signal: FOO/i));
});

describe("cache keys", () => {
  const key = (text: string, parent = "p", contents = "file:00", state = start()): string => {
    const { state: after, operation, describe } = run(text, state);
    return cacheKey(parent, describe(contents), operation, after.config);
  };
  const base = key("COPY a /b");

  test("same step, same key", () => expect(key("COPY a /b")).toBe(base));
  const others: [string, () => string][] = [
    ["another parent", () => key("COPY a /b", "q")],
    ["other contents", () => key("COPY a /b", "p", "file:01")],
    ["another destination", () => key("COPY a /c")],
    ["an owner", () => key("COPY --chown=1 a /b")],
    ["a mode", () => key("COPY --chmod=600 a /b")],
    ["ADD", () => key("ADD a /b")],
    ["another stage as source", () => key("COPY --from=x a /b")],
    ["another working directory", () => key("COPY a b", "p", "file:00", start({ WorkingDir: "/w" }))],
    ["another environment", () => key("COPY a /b", "p", "file:00", start({ Env: ["PATH=/x"] }))],
  ];
  for (const [what, make] of others) test(`${what} gives another key`, () => expect(make()).not.toBe(base));

  test("an argument counts for RUN, a proxy does not", () => {
    const with_ = (given: Record<string, string>): string => key("ARG a\nRUN x", "p", "", start({}, given));
    expect(with_({ a: "1" })).not.toBe(with_({ a: "2" }));
    expect(with_({ a: "1", HTTP_PROXY: "x" })).toBe(with_({ a: "1", HTTP_PROXY: "y" }));
  });
});
