import { describe, expect, test } from "bun:test";
import { UsageError } from "./errors.ts";
import { parseFlags, type FlagSet } from "./flags.ts";

const flags = {
  all: { type: "bool", short: "a", help: "" },
  interactive: { type: "bool", short: "i", help: "" },
  tty: { type: "bool", short: "t", help: "" },
  proxy: { type: "bool", help: "", default: "true" },
  name: { type: "string", short: "n", help: "" },
  publish: { type: "list", short: "p", help: "" },
  tags: { type: "csv", help: "" },
  opt: { type: "map", short: "o", help: "" },
  memory: { type: "bytes", short: "m", help: "" },
  swap: { type: "swap", help: "" },
  wait: { type: "duration", help: "" },
  cpus: { type: "decimal", help: "" },
  last: { type: "int", help: "", default: "-1" },
  net: { type: "list", help: "", aliasOf: "publish" },
} as const satisfies FlagSet;

const parse = (...args: string[]) => parseFlags(flags, args);
const problem = (...args: string[]): string => {
  try {
    parse(...args);
  } catch (error) {
    expect(error).toBeInstanceOf(UsageError);
    expect((error as UsageError).exitCode).toBe(125);
    return (error as Error).message;
  }
  throw new Error(`${args.join(" ")} was accepted`);
};

describe("flags", () => {
  test("have their defaults", () => {
    const { values, given } = parse();
    expect(values).toEqual({
      all: false,
      interactive: false,
      tty: false,
      proxy: true,
      name: "",
      publish: [],
      tags: [],
      opt: {},
      memory: 0,
      swap: 0,
      wait: 0,
      cpus: 0,
      last: -1,
      net: [],
    });
    expect(given.size).toBe(0);
  });

  test("long ones take their value after = or as the next argument", () => {
    expect(parse("--name=x", "--publish", "80:80", "--publish=81").values).toMatchObject({ name: "x", publish: ["80:80", "81"] });
    expect(parse("--name=").values.name).toBe("");
    expect(parse("--name", "--all").values).toMatchObject({ name: "--all", all: false });
  });

  test("short ones go in groups, the last may have a value", () => {
    expect(parse("-it", "x")).toMatchObject({ values: { interactive: true, tty: true }, positional: ["x"] });
    expect(parse("-p80:80", "-itp", "81", "-n=y").values).toMatchObject({ publish: ["80:80", "81"], interactive: true, tty: true, name: "y" });
    expect(parse("-ap=1").values).toMatchObject({ all: true, publish: ["1"] });
    expect(parse("-a=false").values.all).toBe(false);
  });

  test("booleans take a value only after =", () => {
    expect(parse("--proxy=false", "--all=T").values).toMatchObject({ proxy: false, all: true });
    expect(parse("--all", "false").positional).toEqual(["false"]);
  });

  test("lists, maps and sets of values", () => {
    expect(parse("--tags", "a,b", "--tags=c").values.tags).toEqual(["a", "b", "c"]);
    expect(parse("-o", "k=v=w", "-o", "bare").values.opt).toEqual({ k: "v=w", bare: "" });
    expect(parse("--net", "x").values.publish).toEqual(["x"]);
  });

  test("sizes, durations and decimals", () => {
    expect(parse("-m", "512m").values.memory).toBe(512 * 1024 * 1024);
    expect(parse("-m", "1.5GiB").values.memory).toBe(1.5 * 1024 ** 3);
    expect(parse("--swap", "-1").values.swap).toBe(-1);
    expect(parse("--wait", "1m30.5s").values.wait).toBe(90.5e9);
    expect(parse("--wait", "250ms").values.wait).toBe(250e6);
    expect(parse("--cpus", "0.1").values.cpus).toBe(100_000_000);
    expect(parse("--last=5").values.last).toBe(5);
  });

  test("stand anywhere, until --", () => {
    expect(parse("x", "-a", "y", "--", "-t").positional).toEqual(["x", "y", "-t"]);
    expect(parse("-", "-a")).toMatchObject({ positional: ["-"], values: { all: true } });
  });

  test("stop at the first argument where they aren't interspersed", () => {
    expect(parseFlags(flags, ["-a", "image", "-t", "--unknown"], { interspersed: false })).toMatchObject({
      values: { all: true, tty: false },
      positional: ["image", "-t", "--unknown"],
    });
    expect(parseFlags(flags, ["-a", "--", "-t"], { interspersed: false }).positional).toEqual(["-t"]);
  });

  test("tell a given value from a default", () => {
    expect([...parse("--name=", "-a=false").given].sort()).toEqual(["all", "name"]);
  });

  test("are refused in Docker's words", () => {
    expect(problem("--nope")).toBe("unknown flag: --nope");
    expect(problem("--nope=1")).toBe("unknown flag: --nope");
    expect(problem("-ax")).toBe("unknown shorthand flag: 'x' in -x");
    expect(problem("--name")).toBe("flag needs an argument: --name");
    expect(problem("-an")).toBe("flag needs an argument: 'n' in -n");
    expect(problem("-m", "zzz")).toBe(`invalid argument "zzz" for "-m, --memory" flag: invalid size: 'zzz'`);
    expect(problem("--cpus=zzz")).toBe('invalid argument "zzz" for "--cpus" flag: failed to parse zzz as a rational number');
    expect(problem("--all=zz")).toBe('invalid argument "zz" for "-a, --all" flag: strconv.ParseBool: parsing "zz": invalid syntax');
    expect(problem("--last=x")).toBe('invalid argument "x" for "--last" flag: strconv.ParseInt: parsing "x": invalid syntax');
    expect(problem("--wait=5")).toBe('invalid argument "5" for "--wait" flag: time: invalid duration "5"');
    expect(problem("---x")).toBe("bad flag syntax: ---x");
  });
});
