import { describe, expect, test } from "bun:test";
import { parseDockerfile } from "./parse.ts";
import { planBuild, type Plan, type PlanOptions } from "./plan.ts";

const host = { os: "linux", architecture: "amd64" };

function plan(text: string, options: Partial<PlanOptions> = {}): Plan {
  return planBuild(parseDockerfile(text), { buildArgs: {}, labels: {}, host, ...options });
}

describe("graph", () => {
  test("bases and copies point to stages before them, or to images", () => {
    const { stages, total } = plan(
      "FROM a AS one\nRUN x\nFROM one AS two\nCOPY --from=one /x /y\nCOPY --from=0 /x /z\nCOPY --from=busybox /bin/sh /sh\nCOPY a b\nFROM scratch\nCOPY --from=TWO / /\n",
    );
    expect(total).toBe(9);
    expect(stages.map((stage) => stage.base)).toEqual([
      { kind: "image", reference: "a", platform: undefined },
      { kind: "stage", index: 0 },
      { kind: "scratch" },
    ]);
    expect(stages[1]!.steps.map((step) => step.from)).toEqual([
      { kind: "stage", index: 0 },
      { kind: "stage", index: 0 },
      { kind: "image", reference: "busybox", platform: undefined },
      undefined,
    ]);
    expect(stages[2]!.steps[0]!.from).toEqual({ kind: "stage", index: 1 });
  });

  const bases: [string, Record<string, string | null>, string][] = [
    ["ARG v=1\nFROM x:$v", {}, "x:1"],
    ["ARG v=1\nFROM x:$v", { v: "2" }, "x:2"],
    ["ARG v\nFROM x:${v:-3}", {}, "x:3"],
    ["ARG a=1\nARG b=$a-$a\nFROM x:$b", {}, "x:1-1"],
    ["FROM x-$TARGETARCH", {}, "x-amd64"],
    ["FROM x:$v-", { v: "undeclared" }, "x:-"],
  ];
  for (const [text, buildArgs, reference] of bases) {
    test(`${JSON.stringify(text)} with ${JSON.stringify(buildArgs)}`, () => {
      expect(plan(text, { buildArgs }).stages[0]!.base).toMatchObject({ kind: "image", reference });
    });
  }

  test("platforms", () => {
    const arm = { os: "linux", architecture: "arm64" };
    const { stages, target } = plan("FROM --platform=$BUILDPLATFORM a\nFROM b\nFROM --platform=linux/arm/v7 c", { platform: arm });
    expect(target).toEqual(arm);
    expect(stages.map((stage) => stage.base.kind === "image" && stage.base.platform)).toEqual([host, arm, { os: "linux", architecture: "arm", variant: "v7" }]);
  });

  test("target by name and by index; labels go to the last stage built", () => {
    const text = "FROM a AS one\nFROM b AS two\nFROM c";
    expect(plan(text, { target: "TWO" }).stages.length).toBe(2);
    expect(plan(text, { target: "0" }).stages.length).toBe(1);
    const labelled = plan(text, { target: "two", labels: { z: "$x", a: "1" } });
    expect(labelled.stages[1]!.steps.map((step) => step.instruction.code)).toEqual(["LABEL a=1", "LABEL z=$x"]);
    expect(labelled.total).toBe(4);
  });

  test("arguments nobody declared", () => {
    const { args } = plan("ARG a\nFROM b", { buildArgs: { a: "1", z: "1", y: null, http_proxy: "x" } });
    expect(args.unused()).toEqual(["y", "z"]);
  });
});

describe("mistakes", () => {
  const table: [string, string, Partial<PlanOptions>][] = [
    ["FROM a AS x\nFROM b AS x", "dockerfile parse error on line 2: x stage name already used", {}],
    ["FROM a\nCOPY --from=0 a b", "invalid from flag value 0: refers to current build stage", {}],
    ["FROM a\nCOPY --from=7 a b", "dockerfile parse error on line 2: invalid from flag value 7: index out of bounds", {}],
    ["FROM $x", "base name ($x) should not be blank", {}],
    ["FROM ${", "syntax error: missing '}'", {}],
    ["FROM --platform=foo a", "unknown operating system or architecture", {}],
    ["FROM a", 'target stage "nope" could not be found', { target: "nope" }],
    ["ARG x", "No image was generated. Is your Dockerfile empty?", {}],
  ];
  for (const [text, message, options] of table) test(text, () => expect(() => plan(text, options)).toThrow(message));
});
