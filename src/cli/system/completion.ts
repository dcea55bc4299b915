import { defineCommand } from "../command.ts";
import { CliError } from "../errors.ts";

/** Each script asks the program itself (`berth __complete WORDS…`), so that it never goes stale. */
const scripts: Record<string, string> = {
  bash: `_berth() {
  local IFS=$'\\n'
  COMPREPLY=($(berth __complete "\${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
  if [ \${#COMPREPLY[@]} -eq 1 ] && [ "\${COMPREPLY[0]}" = ":file" ]; then
    COMPREPLY=($(compgen -f -- "\${COMP_WORDS[COMP_CWORD]}"))
  fi
}
complete -o nosort -F _berth berth 2>/dev/null || complete -F _berth berth
`,
  zsh: `#compdef berth
_berth() {
  local -a found
  found=("\${(@f)$(berth __complete "\${(@)words[2,$CURRENT]}" 2>/dev/null)}")
  if [[ "\${found[1]}" == ":file" ]]; then
    _files
  else
    compadd -a found
  fi
}
if [ "\${funcstack[1]}" = "_berth" ]; then _berth; else compdef _berth berth; fi
`,
  fish: `function __berth_complete
  set -l words (commandline -opc) (commandline -ct)
  set -l found (berth __complete $words[2..-1] 2>/dev/null)
  if test "$found" = ":file"
    __fish_complete_path (commandline -ct)
  else
    printf '%s\\n' $found
  end
end
complete -c berth -f -a '(__berth_complete)'
`,
};

export const completion = defineCommand({
  name: "completion",
  summary: "Print the completion script for a shell",
  description: `Prints the completion script for a shell. To load it:
  bash:  source <(berth completion bash)
  zsh:   source <(berth completion zsh)
  fish:  berth completion fish | source`,
  usage: "bash|zsh|fish",
  flags: {},
  args: { min: 1, max: 1 },
  async run({ args, io }) {
    const script = scripts[args[0] as string];
    if (script === undefined) throw new CliError(`no completion for the shell ${JSON.stringify(args[0])}: bash, zsh and fish are supported`);
    await io.out.write(script);
  },
});
