import { expect, test } from "bun:test";
import { createLogger, parseLogFormat, parseLogLevel, type LogFormat, type LogLevel } from "./log.ts";

const fields = {
  path: "/a b",
  count: 3,
  error: new Error("no", { cause: new Error("why") }),
  nested: { big: 2n ** 60n, error: new Error("deep") },
  gone: undefined,
  level: "x",
};

function lines(format: LogFormat, level: LogLevel = "info"): string[] {
  const written: string[] = [];
  const log = createLogger({ level: () => level, format: () => format, write: (line) => void written.push(line) }).with({ who: "me" });
  log.debug("not at this level");
  log.warn('say "hi"', fields);
  return written;
}

test("lines of key=value", () => {
  const [line = "", ...rest] = lines("text");
  expect(rest).toEqual([]);
  expect(line.replace(/time=\S+/, "time=T")).toBe(
    'time=T level=warn msg="say \\"hi\\"" who=me path="/a b" count=3 error="no: why" nested={"big":"1152921504606846976","error":"deep"} level=x\n',
  );
});

test("lines of JSON, whose own keys no field replaces", () => {
  const [line = ""] = lines("json");
  expect(line.endsWith("}\n")).toBe(true);
  expect(JSON.parse(line)).toEqual({
    ...{ time: expect.stringMatching(/^\d{4}-.*Z$/), level: "warn", msg: 'say "hi"', who: "me", path: "/a b", count: 3, error: "no: why" },
    nested: { big: "1152921504606846976", error: "deep" },
  });
  expect(Object.keys(JSON.parse(line) as object).slice(0, 3)).toEqual(["time", "level", "msg"]);
});

test("levels are asked at each line, and parsed as dockerd does", () => {
  expect(lines("text", "error")).toEqual([]);
  expect(["DEBUG", "trace", "warn", "fatal"].map(parseLogLevel)).toEqual(["debug", "debug", "warn", "error"]);
  expect(() => parseLogLevel("loud")).toThrow("invalid logging level: loud");
  expect(() => parseLogFormat("xml")).toThrow("invalid log format: xml");
});
