// What this browser remembers of how a person wants to see things.
import { useSyncExternalStore } from 'react'
import type { Zone } from '../logic/format'

const KEY = 'umbra-zone'
const listeners = new Set<() => void>()

function readZone(): Zone {
  return localStorage.getItem(KEY) === 'utc' ? 'utc' : 'local'
}

export function setZone(zone: Zone): void {
  localStorage.setItem(KEY, zone)
  for (const listener of listeners) listener()
}

export function useZone(): Zone {
  return useSyncExternalStore((listener) => {
    listeners.add(listener)
    return () => listeners.delete(listener)
  }, readZone)
}
