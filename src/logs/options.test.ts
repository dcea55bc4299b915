import { describe, expect, test } from "bun:test";
import { logDetails, logTag, type LogSource } from "./attributes.ts";
import { checkLogOptions, isReadable, keepOptionsOf } from "./options.ts";
import { parseSyslogOptions } from "./syslog-options.ts";

const refusal = (type: string, options: Record<string, string>): string => {
  try {
    checkLogOptions(type, options);
  } catch (error) {
    return (error as Error).message;
  }
  return "";
};

describe("options", () => {
  test("are refused in Docker's words", () => {
    expect(refusal("gelf", {})).toBe('error looking up logging plugin gelf: plugin "gelf" not found: there are journald, json-file, local, syslog and none');
    expect(refusal("constructor", {})).toContain('plugin "constructor" not found');
    expect(refusal("json-file", { wat: "1" })).toBe("unknown log opt 'wat' for json-file log driver");
    expect(refusal("local", { wat: "1" })).toBe("unknown log opt 'wat' for log driver local");
    expect(refusal("journald", { "max-size": "1m" })).toBe("unknown log opt 'max-size' for journald log driver");
    expect(refusal("syslog", { "max-size": "1m" })).toBe("unknown log opt 'max-size' for syslog log driver");
    expect(refusal("json-file", { mode: "fast" })).toBe("logger: logging mode not supported: fast");
    expect(refusal("json-file", { "max-buffer-size": "1m" })).toBe("logger: max-buffer-size option is only supported with 'mode=non-blocking'");
    expect(refusal("json-file", { mode: "non-blocking", "max-buffer-size": "much" })).toBe("error parsing option max-buffer-size: invalid size: 'much'");
    expect(refusal("json-file", { "max-file": "0" })).toBe("max-file cannot be less than 1");
    expect(refusal("json-file", { "max-size": "0" })).toBe("max-size must be a positive number");
    expect(refusal("json-file", { "max-size": "many" })).toBe("invalid value for max-size: invalid size: 'many'");
    expect(refusal("json-file", { compress: "perhaps" })).toBe("invalid boolean value for compress: perhaps");
    expect(refusal("json-file", { compress: "true", "max-file": "1" })).toBe("compress cannot be true when max-file is less than 2 or max-size is not set");
    expect(refusal("syslog", { "cache-disabled": "perhaps" })).toBe("invalid value for option cache-disabled: perhaps");
    expect(refusal("json-file", { "labels-regex": "(" })).toStartWith("invalid value for labels-regex: (");
    expect(refusal("json-file", { tag: "{{.ID" })).toStartWith("invalid log tag: ");
    expect(refusal("json-file", { tag: "{{.Wat}}" })).toStartWith("invalid log tag: ");
    expect(refusal("syslog", { "syslog-facility": "wat" })).toBe("invalid syslog facility");
    expect(refusal("syslog", { "syslog-format": "wat" })).toBe("Invalid syslog format");
    expect(refusal("syslog", { "syslog-address": "http://x" })).toBe("unsupported scheme: 'http'");
    expect(refusal("syslog", { "syslog-address": "unix:///no/such/socket" })).toBe("stat /no/such/socket: no such file or directory");
    for (const [type, options] of [
      ["json-file", { "max-size": "10m", "max-file": "3", compress: "true", labels: "a", env: "b", "env-regex": "^X", tag: "{{.Name}}" }],
      ["local", { "max-size": "1.5GB", mode: "non-blocking", "max-buffer-size": "4m" }],
      ["syslog", { "syslog-address": "udp://127.0.0.1", "syslog-format": "rfc5424micro", "cache-max-size": "1m", "cache-disabled": "true" }],
      ["journald", { tag: "{{.ImageName}}/{{.Name}}" }],
      ["none", { whatever: "1" }],
    ] as const)
      expect(refusal(type, options)).toBe("");
  });

  test("bounds: by default, as told, and those of the cache", () => {
    expect(keepOptionsOf("json-file", {})).toEqual({ maxSize: 10_000_000, maxFiles: 20, compress: true });
    expect(keepOptionsOf("local", { "max-size": "1.5k", "max-file": "3", compress: "false" })).toEqual({ maxSize: 1500, maxFiles: 3, compress: false });
    expect(keepOptionsOf("json-file", { "max-size": "-1" })?.maxSize).toBe(Infinity);
    expect(keepOptionsOf("syslog", { "cache-max-file": "2" })).toEqual({ maxSize: 20_000_000, maxFiles: 2, compress: true });
    expect(keepOptionsOf("none", {})).toBeUndefined();
    expect([isReadable("none", {}), isReadable("syslog", {}), isReadable("syslog", { "cache-disabled": "1" })]).toEqual([false, true, false]);
    expect(isReadable("json-file", { "cache-disabled": "1" })).toBe(true);
  });

  test("of syslog", () => {
    expect(parseSyslogOptions({})).toEqual({ address: { kind: "local" }, facility: 3, format: "", tls: { caCert: "", cert: "", key: "", skipVerify: false } });
    const of = (address: string): unknown => parseSyslogOptions({ "syslog-address": address }).address;
    expect(of("udp://10.0.0.1")).toEqual({ kind: "udp", host: "10.0.0.1", port: 514 });
    expect(of("tcp+tls://[fe80::1]:6514")).toEqual({ kind: "tcp+tls", host: "fe80::1", port: 6514 });
    expect(of("unixgram:///dev/log")).toEqual({ kind: "unixgram", path: "/dev/log" });
    for (const address of ["tcp://", "tcp://h:0", "tcp://h:99999", "tcp://a b", "unix://relative", "x"]) expect(() => of(address)).toThrow();
    expect(parseSyslogOptions({ "syslog-facility": "local7" }).facility).toBe(23);
    expect(parseSyslogOptions({ "syslog-facility": "13" }).facility).toBe(13);
    expect(() => parseSyslogOptions({ "syslog-facility": "24" })).toThrow("invalid syslog facility");
  });
});

const source: LogSource = {
  id: "0123456789abcdef".repeat(4),
  name: "web",
  imageId: `sha256:${"fedcba9876543210".repeat(4)}`,
  imageName: "nginx:1",
  args: ["nginx", "-g", "daemon off;"],
  env: ["STAGE=prod=1", "HOME=/", "BARE"],
  labels: { team: "a b", app: "x,y", "other.name": "1" },
  created: "2026-01-02T03:04:05Z",
  options: {},
};
const withOptions = (options: Record<string, string>): LogSource => ({ ...source, options });

test("details are the labels and variables that the options name, and the tag, sorted and escaped", () => {
  expect(logDetails(withOptions({ labels: "team,app,missing", env: "STAGE,BARE" }))).toBe("STAGE=prod%3D1,app=x%2Cy,team=a+b");
  expect(logDetails(withOptions({ "labels-regex": "^oth", "env-regex": "HO|NO", tag: "{{.Name}}!" }))).toBe("HOME=%2F,other.name=1,tag=web!");
  expect(logDetails(source)).toBe("");
});

test("tags are Docker's templates", () => {
  const tag = (text: string): string => logTag(withOptions({ tag: text, labels: "team" }));
  expect(logTag(source)).toBe("0123456789ab");
  expect(tag("{{.ImageName}}/{{.Name}}/{{.ID}}")).toBe("nginx:1/web/0123456789ab");
  expect(tag("{{.FullID}} {{.ImageID}} {{.ImageFullID}}")).toBe(`${source.id} fedcba987654 ${source.imageId}`);
  expect(tag("{{.Command}} {{.DaemonName}}")).toBe("nginx -g daemon off; docker");
  expect(tag('{{upper .Name}} {{index .ContainerLabels "team"}} {{(.ExtraAttributes nil).team}}')).toBe("WEB a b a b");
  expect(() => tag("{{.Wat}}")).toThrow("invalid log tag: ");
});

describe("a tag's template can't hold up the engine", () => {
  const hostile: [string, string][] = [
    ["many rounds", "{{range 1000000000}}{{end}}"],
    ["rounds in rounds", "{{range 30000}}{{range 30000}}{{continue}}{{end}}{{end}}"],
    ["text that doubles", '{{$x := "ab"}}{{range 40}}{{$x = print $x $x}}{{end}}'],
    ["lists that double", '{{$x := "ab"}}{{range 40}}{{$x = printf "%s%s" $x $x}}{{$y := split $x ""}}{{end}}'],
    ["wide padding", '{{pad "x" 999999999 1}}'],
    ["wide numbers", `{{printf "${"%10000d".repeat(20)}" ${"1 ".repeat(20)}}}`],
    ["a long template", "{{.ID}}".repeat(1000)],
    ["much text", "{{range 5000}}{{$.FullID}}{{end}}"],
  ];
  for (const [name, tag] of hostile) test(name, () => expect(refusal("json-file", { tag })).toStartWith("invalid log tag: "));

  test("what anybody needs is far from it", () => {
    const env = Array.from({ length: 100 }, (_, i) => `VARIABLE_${i}=${"v".repeat(50)}`);
    const tag = "{{range $i, $v := .ContainerEnv}}{{if $i}},{{end}}{{$v}}{{end}} {{range 3}}{{.}}{{break}}{{end}}";
    expect(logTag({ ...withOptions({ tag }), env })).toBe(`${env.join(",")} 0`);
  });
});
