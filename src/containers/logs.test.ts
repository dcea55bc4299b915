import { expect, test } from "bun:test";
import { logDetails } from "./logs.ts";

const config = { Labels: { team: "a b", app: "x,y", other: "1" }, Env: ["STAGE=prod=1", "HOME=/", "BARE"] };
const details = (options: Record<string, string>): string => logDetails({ config, host: { LogConfig: { Type: "json-file", Config: options } } });

test("details are the labels and variables that the log options name, sorted and escaped", () => {
  expect(details({ labels: "team,app,missing", env: "STAGE,BARE" })).toBe("BARE=,STAGE=prod%3D1,app=x%2Cy,team=a+b");
  expect(details({})).toBe("");
  expect(logDetails({ config: {}, host: {} })).toBe("");
});
