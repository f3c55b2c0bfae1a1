// Hosts: what state they are in, and which ones a search finds.
import type { Host } from '../api/client'
import type { Tone } from './jobs'

export type HostStanding = 'online' | 'offline' | 'trouble' | 'maintenance'

export function hostStanding(host: Host): HostStanding {
  if (host.state !== 'STATE_ONLINE') return 'offline'
  if (host.agentProblem || host.hypervisorError) return 'trouble'
  return host.drained ? 'maintenance' : 'online'
}

export const STANDING_WORDS: Record<HostStanding, { word: string; tone: Tone }> = {
  online: { word: 'Online', tone: 'good' }, offline: { word: 'Offline', tone: 'bad' }, trouble: { word: 'Trouble', tone: 'bad' },
  maintenance: { word: 'In maintenance', tone: 'warn' },
}

export function labelWords(labels: Record<string, string> | undefined): string {
  return Object.entries(labels ?? {}).map(([key, value]) => `${key}=${value}`).join(', ')
}

/** By a part of the name, of a label or of the agent's version. */
export function findHosts(hosts: Host[], text: string, standing: string): Host[] {
  const wanted = text.trim().toLowerCase()
  return hosts
    .filter((host) => standing === '' || hostStanding(host) === standing)
    .filter((host) => wanted === '' || `${host.displayName} ${labelWords(host.labels)} ${host.agentVersion}`.toLowerCase().includes(wanted))
    .sort((a, b) => (a.displayName ?? '').localeCompare(b.displayName ?? '', 'en', { numeric: true }))
}
