import { describe, expect, test } from "bun:test";
import { parseDockerfile, parseInstruction } from "./parse.ts";
import type { Instruction } from "./instructions.ts";

/** The one instruction after FROM, without its place. */
function one(text: string, head = ""): Omit<Instruction, "line" | "code"> {
  const { stages } = parseDockerfile(`${head}FROM scratch\n${text}\n`);
  expect(stages.length).toBe(1);
  const [instruction, ...more] = stages[0]!.instructions;
  expect(more).toEqual([]);
  const { line: _line, code: _code, ...rest } = instruction!;
  return JSON.parse(JSON.stringify(rest));
}

describe("instructions", () => {
  const table: [string, object][] = [
    ["RUN echo hi", { kind: "run", command: { form: "shell", words: ["echo hi"] }, heredocs: [] }],
    ['RUN ["echo", "hi there"]', { kind: "run", command: { form: "json", words: ["echo", "hi there"] }, heredocs: [] }],
    ["RUN [ -f x ] && y", { kind: "run", command: { form: "shell", words: ["[ -f x ] && y"] }, heredocs: [] }],
    ["run echo low", { kind: "run", command: { form: "shell", words: ["echo low"] }, heredocs: [] }],
    ["RUN echo a \\\n  # comment\n  b", { kind: "run", command: { form: "shell", words: ["echo a   b"] }, heredocs: [] }],
    ["CMD", { kind: "cmd", command: { form: "shell", words: [] } }],
    ["CMD []", { kind: "cmd", command: { form: "json", words: [] } }],
    ['CMD ["a"]', { kind: "cmd", command: { form: "json", words: ["a"] } }],
    ["CMD a  b", { kind: "cmd", command: { form: "shell", words: ["a  b"] } }],
    ["ENTRYPOINT /x", { kind: "entrypoint", command: { form: "shell", words: ["/x"] } }],
    ["ENV a b c", { kind: "env", pairs: [{ key: "a", value: "b c" }] }],
    ["ENV a=b", { kind: "env", pairs: [{ key: "a", value: "b" }] }],
    [
      "ENV a=\"b c\" d=e\\ f g='h i'",
      {
        kind: "env",
        pairs: [
          { key: "a", value: '"b c"' },
          { key: "d", value: "e\\ f" },
          { key: "g", value: "'h i'" },
        ],
      },
    ],
    [
      "ENV a= b=2",
      {
        kind: "env",
        pairs: [
          { key: "a", value: "" },
          { key: "b", value: "2" },
        ],
      },
    ],
    [
      "LABEL a.b=c \\\n  d=e",
      {
        kind: "label",
        literal: false,
        pairs: [
          { key: "a.b", value: "c" },
          { key: "d", value: "e" },
        ],
      },
    ],
    ["MAINTAINER Some One <x@example.org>", { kind: "maintainer", name: "Some One <x@example.org>" }],
    ["EXPOSE 80/tcp 53/udp", { kind: "expose", ports: ["53/udp", "80/tcp"] }],
    ['VOLUME ["/a b", "/c"]', { kind: "volume", paths: ["/a b", "/c"] }],
    ["VOLUME /a /c", { kind: "volume", paths: ["/a", "/c"] }],
    ["USER 1:2", { kind: "user", user: "1:2" }],
    ["WORKDIR /a b", { kind: "workdir", path: "/a b" }],
    ["ARG a", { kind: "arg", args: [{ key: "a" }] }],
    ["ARG a=1 b= c", { kind: "arg", args: [{ key: "a", value: "1" }, { key: "b", value: "" }, { key: "c" }] }],
    ["ONBUILD RUN  echo x", { kind: "onbuild", expression: "RUN  echo x" }],
    ["STOPSIGNAL SIGKILL", { kind: "stopsignal", signal: "SIGKILL" }],
    ['SHELL ["/bin/bash", "-c"]', { kind: "shell", shell: ["/bin/bash", "-c"] }],
    ["HEALTHCHECK NONE", { kind: "healthcheck", health: { Test: ["NONE"] } }],
    ["HEALTHCHECK CMD curl x", { kind: "healthcheck", health: { Test: ["CMD-SHELL", "curl x"] } }],
    [
      'HEALTHCHECK --interval=1m30s --timeout=3s --start-period=1h --start-interval=500ms --retries=3 CMD ["a", "b"]',
      { kind: "healthcheck", health: { Test: ["CMD", "a", "b"], Interval: 90e9, Timeout: 3e9, StartPeriod: 3600e9, StartInterval: 500e6, Retries: 3 } },
    ],
    ["COPY a b /c/", { kind: "copy", sources: ["a", "b"], inline: [], destination: "/c/" }],
    ['COPY ["a b", "/c d"]', { kind: "copy", sources: ["a b"], inline: [], destination: "/c d" }],
    [
      "COPY --from=builder --chown=1:2 --chmod=755 --link a /b",
      { kind: "copy", sources: ["a"], inline: [], destination: "/b", from: "builder", chown: "1:2", chmod: "755" },
    ],
    ["ADD --checksum=sha256:00 http://x/y /z", { kind: "add", sources: ["http://x/y"], inline: [], destination: "/z", checksum: "sha256:00" }],
    [
      "RUN <<EOF\necho 1\n  # not a comment\nEOF",
      {
        kind: "run",
        command: { form: "shell", words: ["<<EOF"] },
        heredocs: [{ name: "EOF", content: "echo 1\n  # not a comment\n", expand: true, stripTabs: false }],
      },
    ],
    [
      'COPY <<-"A" <<B /x/\n\tone $y\n\tA\ntwo\nB',
      {
        kind: "copy",
        sources: [],
        destination: "/x/",
        inline: [
          { name: "A", content: "one $y\n", expand: false, stripTabs: true },
          { name: "B", content: "two\n", expand: true, stripTabs: false },
        ],
      },
    ],
  ];
  for (const [text, wanted] of table) test(text, () => expect(one(text)).toEqual(wanted as never));
});

describe("files", () => {
  test("stages, names, platforms and arguments before the first FROM", () => {
    const file = parseDockerfile("ARG v=1\nARG w\nFROM --platform=$BUILDPLATFORM x:$v AS Build\nRUN a\nFROM scratch\nCOPY --from=build /a /b\n");
    expect(file.metaArgs.map((arg) => arg.args)).toEqual([[{ key: "v", value: "1" }], [{ key: "w" }]]);
    expect(file.stages.map(({ base, name, platform }) => ({ base, name, platform }))).toEqual([
      { base: "x:$v", name: "build", platform: "$BUILDPLATFORM" },
      { base: "scratch", name: undefined, platform: undefined },
    ]);
    expect(file.stages[1]!.instructions[0]!.line).toBe(6);
    expect(file.stages[0]!.code).toBe("FROM --platform=$BUILDPLATFORM x:$v AS Build");
  });

  test("byte order mark, carriage returns, comments and a missing last newline", () => {
    const { stages } = parseDockerfile("\uFEFF# hello\r\nFROM scratch\r\n  # indented\r\n\r\nCMD x\\\r\n y");
    expect(stages[0]!.instructions.map((i) => i.code)).toEqual(["CMD x y"]);
  });

  test("the escape directive", () => {
    const instruction = one("COPY a `\n c:\\d\\", "# syntax=docker/dockerfile:1\n# escape=`\n");
    expect(instruction).toMatchObject({ sources: ["a"], destination: "c:\\d\\" });
  });

  test("a directive after a comment is a comment", () => {
    expect(parseDockerfile("# x\n# escape=`\nFROM scratch\n").escape).toBe("\\");
  });

  test("an empty line within an instruction is left out, with a warning", () => {
    const { warnings, stages } = parseDockerfile("FROM scratch\nRUN a \\\n\n b\n");
    expect(warnings[0]).toContain("Empty continuation line found in:\n    RUN a");
    expect(stages[0]!.instructions[0]!.code).toBe("RUN a  b");
  });

  test("a shift is no here-document", () => {
    expect(one("RUN echo $((1<<2)) '<<EOF'")).toMatchObject({ heredocs: [] });
  });
});

describe("mistakes", () => {
  const table: [string, string][] = [
    ["", "dockerfile parse error on line 1: file with no instructions"],
    ["# only\n", "dockerfile parse error on line 1: file with no instructions"],
    ["FROM scratch\n\nFOO bar\n", "dockerfile parse error on line 3: unknown instruction: FOO"],
    ["FROM scratch\nRUNN bar\n", "dockerfile parse error on line 2: unknown instruction: RUNN (did you mean RUN?)"],
    ["RUN x\n", "dockerfile parse error on line 1: no build stage in current context"],
    ["FROM\n", "FROM requires either one or three arguments"],
    ["FROM a b\n", "FROM requires either one or three arguments"],
    ["FROM a AS 1x\n", `invalid name for build stage: "1x", name can't start with a number or contain symbols`],
    ["FROM a\nENV\n", "ENV requires at least one argument"],
    ["FROM a\nENV a\n", "ENV must have two arguments"],
    ["FROM a\nENV a=b c\n", `Syntax error - can't find = in "c". Must be of the form: name=value`],
    ["FROM a\nENV =b\n", "ENV names can not be blank"],
    ["FROM a\nARG =b\n", "ARG names can not be blank"],
    ["FROM a\nCOPY x\n", "COPY requires at least two arguments, but only one was provided. Destination could not be determined"],
    ["FROM a\nCOPY --froom=x a b\n", "Unknown flag: froom"],
    ["FROM a\nCOPY --from=x --from=y a b\n", "Duplicate flag specified: from"],
    ["FROM a\nCOPY --from a b\n", "Missing a value on flag: from"],
    ["FROM a\nCOPY --link=maybe a b\n", "Expecting boolean value for flag link, not: maybe"],
    ["FROM a\nCOPY --parents a b\n", "the --parents option requires BuildKit"],
    ["FROM a\nRUN --mount=type=cache,target=/x y\n", "dockerfile parse error on line 2: the --mount option requires BuildKit"],
    ["FROM a\nRUN --foo y\n", "Unknown flag: foo"],
    ['FROM a\nCMD ["a", 1]\n', "when using JSON array syntax, arrays must be comprised of strings only"],
    ["FROM a\nSHELL bash -c\n", "SHELL requires the arguments to be in JSON form"],
    ["FROM a\nUSER\n", "USER requires exactly one argument"],
    ["FROM a\nONBUILD\n", "ONBUILD requires at least one argument"],
    ["FROM a\nONBUILD ONBUILD RUN x\n", "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed"],
    ["FROM a\nONBUILD FROM x\n", "FROM isn't allowed as an ONBUILD trigger"],
    ["FROM a\nONBUILD FOO x\n", "unknown instruction: FOO"],
    ["FROM a\nHEALTHCHECK NONE x\n", "HEALTHCHECK NONE takes no arguments"],
    ["FROM a\nHEALTHCHECK CMD\n", "Missing command after HEALTHCHECK CMD"],
    ["FROM a\nHEALTHCHECK FOO x\n", 'Unknown type "FOO" in HEALTHCHECK (try CMD)'],
    ["FROM a\nHEALTHCHECK --interval=1us CMD x\n", 'Interval "interval" cannot be less than 1ms'],
    ["FROM a\nHEALTHCHECK --retries=-1 CMD x\n", "--retries cannot be negative (-1)"],
    ['FROM a\nVOLUME ["/a", ""]\n', "VOLUME specified can not be an empty string"],
    ["FROM a\nRUN <<EOF\nx\n", "dockerfile parse error on line 2: unterminated heredoc"],
    ["FROM a\nCOPY x <<EOF\nEOF\n", "COPY cannot accept a heredoc as a destination"],
    ["# escape=x\nFROM a\n", "dockerfile parse error on line 1: invalid escape token 'x' does not match ` or \\"],
    ["# escape=\\\n# escape=\\\nFROM a\n", "dockerfile parse error on line 2: only one escape parser directive can be used"],
    [`FROM a\nRUN ${"x".repeat(70000)}\n`, "dockerfile parse error on line 2: dockerfile line greater than max allowed size of 65535"],
  ];
  for (const [text, message] of table) {
    test(`${JSON.stringify(text.slice(0, 60))}`, () => expect(() => parseDockerfile(text)).toThrow(message));
  }

  test("nothing is suggested for what looks like nothing", () => expect(() => parseDockerfile("FOO")).toThrow(/FOO$/));

  test("a trigger is one instruction", () => {
    expect(parseInstruction("COPY a b").kind).toBe("copy");
    expect(() => parseInstruction("RUN a\nRUN b")).toThrow("want exactly one instruction");
    expect(() => parseInstruction("FROM a")).toThrow("FROM is not allowed here");
  });
});
