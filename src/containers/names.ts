import { invalidArgument } from "../lib/errors.ts";

const adjectives = `able amber ample apt bold brave breezy brisk bright calm candid clever cosy crisp curious deft eager earnest easy fair
fearless fine fond frank fresh gentle glad golden grand happy hardy hearty humble jolly keen kind lively loyal lucid lucky mellow merry
mighty mild neat nimble noble open patient placid plucky polite prompt proud quick quiet radiant rapid ready robust rosy serene sharp
shiny silent sleek smart snug sober solid spry stable steady stoic sturdy subtle sunny swift tender tidy trim trusty upbeat vivid warm
wise witty zesty`.split(/\s+/);

/** Seafarers, ship builders, map makers, oceanographers. */
const surnames = `amundsen andree baker barents barrow beaufort bering bligh bougainville brunel bowditch cabot cartier chichester
colomb cook cousteau cunard dampier davis dias drake drebbel dufour earle elcano ellesmere fitzroy flinders franklin frobisher fulton
gama gould grenfell hadley halley hanno harrison hasler heyerdahl hudson joyon knox lloyd macarthur magellan maury mercator moitessier
munk nansen nares necho nordenskiold ortelius parry piccard plimsoll pytheas quiros rennell ross roper sacagawea scoresby semyonov
shackleton slocum smeaton sverdrup tabarly tasman tharp torres vancouver villiers weddell wilkes worsley zheng`.split(/\s+/);

const pick = (words: readonly string[]): string => words[Math.floor(Math.random() * words.length)] as string;

/** `adjective_surname`, with a number appended after `attempt` collisions, as Docker does. */
export function randomName(attempt: number): string {
  const name = `${pick(adjectives)}_${pick(surnames)}`;
  return attempt === 0 ? name : name + String(Math.floor(Math.random() * 10 ** Math.min(attempt, 9)));
}

const pattern = /^[a-zA-Z0-9][a-zA-Z0-9_.-]+$/;

/** The name without its leading slash. @throws EngineError invalidArgument */
export function parseName(text: string): string {
  const name = text.startsWith("/") ? text.slice(1) : text;
  if (name.length > 255 || !pattern.test(name)) {
    throw invalidArgument(`Invalid container name (${text}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed`);
  }
  return name;
}

/** 64 hex digits; never all decimal in its first twelve, so that a short id is no number (Docker: some tools read it as one). */
export function newId(): string {
  for (;;) {
    const id = Buffer.from(crypto.getRandomValues(new Uint8Array(32))).toString("hex");
    if (!/^\d{12}/.test(id)) return id;
  }
}

export const shortId = (id: string): string => id.slice(0, 12);
