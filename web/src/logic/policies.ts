// What policies say, in words.
import type { Policy } from '../api/client'
import { count, duration, idOf, seconds } from './format'

export function selectionWords(selection: Policy['selection']): string {
  if (!selection) return 'nothing'
  const members = selection.members ?? []
  const hosts = selection.hosts ?? []
  const parts = [
    ...(selection.expression ? [selection.expression === 'all' ? 'every machine' : `what fits “${selection.expression}”`] : []),
    ...(hosts.length > 0 ? [`all of ${count(hosts.length, 'host')}`] : []),
    ...(members.length === 1 ? [idOf(members[0])] : members.length > 1 ? [`${members.length} by name`] : []),
    ...(selection.everythingElse ? ['what no other policy selects'] : []),
  ]
  if (parts.length === 0) return 'nothing'
  return parts.join(', ') + (selection.exclude ? `, but not “${selection.exclude}”` : '')
}

export function retentionWords(retention: Policy['retention']): string {
  if (!retention) return 'everything'
  const rules: [number | undefined, string][] = [
    [retention.hourly, 'hour'], [retention.daily, 'day'], [retention.weekly, 'week'], [retention.monthly, 'month'], [retention.yearly, 'year'],
  ]
  const parts = [
    ...(retention.last ? [`the newest ${retention.last}`] : []),
    ...rules.flatMap(([periods, word]) => (periods ? [`one of each of ${count(periods, word)}`] : [])),
    ...(retention.within ? [`all of the last ${duration(seconds(retention.within))}`] : []),
  ]
  return parts.length === 0 ? 'everything' : parts.join(', ')
}
