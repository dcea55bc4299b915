import { describe, expect, test } from "bun:test";
import { parseTemplate } from "./template.ts";
import { TemplateError } from "./template-functions.ts";

const container = {
  Id: "abc",
  Name: "/web",
  State: { Status: "running", Running: true, Pid: 42, Health: null },
  Config: { Cmd: ["sh", "-c", "x"], Labels: { "b.x": "2", a: "1" }, Env: [] },
  Ports: { "80/tcp": [{ HostIp: "0.0.0.0", HostPort: "8080" }], "81/tcp": null },
  Big: 1234567890123,
  Label: (name: string) => `label-${name}`,
  Lazy: () => "called",
};
const run = (source: string, data: unknown = container): string => parseTemplate(source).execute(data);

describe("templates", () => {
  const table: [string, string][] = [
    ["plain", "plain"],
    ["{{.Id}} {{.State.Status}}", "abc running"],
    ["{{ .State.Pid }}", "42"],
    ["{{.Big}}", "1234567890123"],
    ["{{json .Config.Cmd}}", '["sh","-c","x"]'],
    ["{{.Config.Cmd}}", "[sh -c x]"],
    ["{{.Config.Labels}}", "map[a:1 b.x:2]"],
    ['{{index .Config.Labels "b.x"}}', "2"],
    ["{{index .Config.Cmd 1}}", "-c"],
    ['{{(index (index .Ports "80/tcp") 0).HostPort}}', "8080"],
    ["{{range .Config.Cmd}}<{{.}}>{{end}}", "<sh><-c><x>"],
    ["{{range $i, $c := .Config.Cmd}}{{$i}}={{$c}};{{end}}", "0=sh;1=-c;2=x;"],
    ["{{range $k, $v := .Config.Labels}}{{$k}}:{{$v}} {{end}}", "a:1 b.x:2 "],
    ["{{range .Config.Env}}x{{else}}none{{end}}", "none"],
    ["{{range $p, $b := .Ports}}{{$p}}{{if $b}}->{{(index $b 0).HostPort}}{{end}} {{end}}", "80/tcp->8080 81/tcp "],
    ['{{range .Config.Cmd}}{{if eq . "-c"}}{{continue}}{{end}}{{if eq . "x"}}{{break}}{{end}}{{.}}{{end}}', "sh"],
    ["{{if .State.Running}}up{{else}}down{{end}}", "up"],
    ["{{if .State.Health}}{{.State.Health.Status}}{{else}}no health{{end}}", "no health"],
    ["{{if .State.Missing}}a{{else if .State.Running}}b{{else}}c{{end}}", "b"],
    ["{{if not .State.Running}}x{{end}}", ""],
    ['{{if and .State.Running (eq .Id "abc")}}yes{{end}}', "yes"],
    ['{{if or false (ne .Id "abc")}}yes{{else}}no{{end}}', "no"],
    ["{{if gt .State.Pid 41}}{{if le .State.Pid 42}}in{{end}}{{end}}", "in"],
    ['{{eq .Id "x" "abc"}}', "true"],
    ["{{with .State}}{{.Status}} {{$.Id}}{{end}}", "running abc"],
    ["{{with .State.Health}}x{{else}}none{{end}}", "none"],
    ["{{$x := .Id}}{{$x}}{{$x}}", "abcabc"],
    ["{{$x := 1}}{{if true}}{{$x = 2}}{{end}}{{$x}}", "2"],
    ["{{len .Config.Cmd}} {{len .Id}} {{len .Config.Labels}}", "3 3 2"],
    ['{{join .Config.Cmd ","}}', "sh,-c,x"],
    ['{{range split "a,b" ","}}{{.}} {{end}}', "a b "],
    ["{{upper .Id}} {{.Id | upper | lower}} {{title .State.Status}}", "ABC abc Running"],
    ['{{printf "%s-%d|%5s|%-5s|%05d|%q|%v|%t|%%" .Id .State.Pid .Id .Id 42 "q" .Config.Cmd true}}', 'abc-42|  abc|abc  |00042|"q"|[sh -c x]|true|%'],
    ['{{print 1 2}} {{print "a" 1}}', "1 2 a1"],
    ["{{println .Id}}", "abc\n"],
    ["{{slice .Id 1}} {{slice .Id 0 2}}", "bc ab"],
    ["{{truncate .Id 2}} [{{pad .Id 1 2}}]", "ab [ abc  ]"],
    ['{{.Label "com.x"}}', "label-com.x"],
    ["{{.Lazy}}", "called"],
    ["{{.State.Health}}", "<nil>"],
    ["a {{- .Id -}} b", "aabcb"],
    ["{{/* nothing */}}x{{- /* trims */ -}} y", "xy"],
    ['{{"}}"}}{{`raw "x"`}}{{"\\t\\u00e9"}}', '}}raw "x"\té'],
    ["{{true}} {{3.5}} {{-1}}", "true 3.5 -1"],
    ["{{.}}", ""],
  ];
  for (const [source, wanted] of table.slice(0, -1)) test(JSON.stringify(source), () => expect(run(source)).toBe(wanted));

  test("the data itself", () => {
    expect(run("{{.}}", "text")).toBe("text");
    expect(run("{{json .}}", { b: 1, a: [null] })).toBe('{"b":1,"a":[null]}');
  });

  test("fields that may be left out", () => {
    expect(parseTemplate("{{.State.Oom}} {{.Shell}}").execute(container, { Oom: "<nil>", Shell: "[]" })).toBe("<nil> []");
  });

  const errors: [string, string][] = [
    ["{{.Nope}}", 'map has no entry for key "Nope"'],
    ["{{.State.Nope}}", 'map has no entry for key "Nope"'],
    ["{{.State.Nope.Deep}}", 'map has no entry for key "Nope"'],
    ["{{.State.Health.Status}}", "nil data"],
    ["{{.Id.X}}", "can't evaluate field X"],
    ["{{if .Id}}", "{{end}} is missing"],
    ["{{end}}", "unexpected {{end}}"],
    ["{{.Id", "unclosed action"],
    ["{{nope .Id}}", 'function "nope" not defined'],
    ["{{$x}}", 'undefined variable "$x"'],
    ["{{break}}", "outside {{range}}"],
    ["{{(.Id}}", "unclosed left paren"],
    ["{{}}", "missing value"],
    ["{{.Id | 3}}", "non executable command"],
    ["{{index .Config.Cmd 9}}", "out of range"],
    ["{{lt .Id 3}}", "incompatible types"],
    ["{{.Id ; 3}}", "unexpected"],
    ["{{toString}}", 'function "toString" not defined'],
    ["{{.Id.repeat 3}}", "repeat is not a method"],
    ['{{.Label.constructor "return 1"}}', "constructor is not a method"],
    ['{{$x := index . "Label"}}{{$x.constructor "return 1"}}', "constructor is not a method"],
    ['{{printf "%.200f" 1.5}}', "toFixed"],
    ['{{printf "%c" "x"}}', "code points"],
    ["{{pad .Id -1 0}}", "repeat"],
    [`{{${"(".repeat(100_000)}.Id}}`, "call stack"],
  ];
  test("what JavaScript gives every object isn't there", () => {
    expect(run('{{index . "constructor"}} {{index .State "toString"}}')).toBe("<no value> <no value>");
  });

  for (const [source, wanted] of errors)
    test(`${source.slice(0, 80)} is refused`, () => {
      expect(() => run(source)).toThrow(TemplateError);
      expect(() => run(source)).toThrow(wanted);
    });
});
