import { repositoryMatcher } from "./patterns.ts";

/** The distribution-spec's actions on a repository, as they stand in a token's scope. */
export type Action = "pull" | "push" | "delete";

export interface AccessRule {
  /** Patterns of repositories; the rule speaks of what any of them matches. */
  repositories: readonly string[];
  allow: readonly Action[];
  /** Names; `*` is everyone who has logged in. */
  users?: readonly string[];
  groups?: readonly string[];
  /** Also those who haven't logged in. */
  anonymous?: boolean;
}

export interface AccessConfig {
  /** Members by group. */
  groups?: Readonly<Record<string, readonly string[]>>;
  rules: readonly AccessRule[];
}

/** What rules give to a user (undefined: to someone who hasn't logged in). What no rule allows is not allowed. */
export type Access = (user: string | undefined, repository: string, action: Action) => boolean;

/** Without rules, whoever has got in may do everything. */
export const unlimited: Access = () => true;

export function createAccess(config: AccessConfig): Access {
  const groups = new Map(Object.entries(config.groups ?? {}));
  const rules = config.rules.map(({ repositories, allow, users = [], groups: named = [], anonymous = false }) => {
    const members = new Set([...users, ...named.flatMap((name) => groups.get(name) ?? [])]);
    const matchers = repositories.map(repositoryMatcher);
    return {
      allow: new Set(allow),
      speaksOf: (repository: string) => matchers.some((matches) => matches(repository)),
      speaksTo: (user: string | undefined) => anonymous || (user !== undefined && (members.has("*") || members.has(user))),
    };
  });
  return (user, repository, action) => rules.some((rule) => rule.allow.has(action) && rule.speaksTo(user) && rule.speaksOf(repository));
}
