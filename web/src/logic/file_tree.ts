// A recovery point's files as folders: the daemon lists them in one long row, with whole paths.
import type { RecoveryPointFile } from '../api/client'

export interface Entry {
  path: string
  name: string
  folder: boolean
  file: RecoveryPointFile
}

/** The folder that holds a path; "" for what is at the top of all. */
export function parentOf(path: string): string {
  const cut = path.lastIndexOf('/')
  return cut <= 0 ? '' : path.slice(0, cut)
}

export function entryOf(file: RecoveryPointFile): Entry {
  const path = file.path ?? ''
  return { path, name: path.slice(path.lastIndexOf('/') + 1) || path, folder: file.type === 'TYPE_FOLDER', file }
}

/**
 * What is directly in a folder: folders first, then by name. "" has the folders that were backed up: those that no other listed one holds.
 */
export function entriesOf(files: RecoveryPointFile[], folder: string): Entry[] {
  const known = folder === '' ? new Set(files.filter((file) => file.type === 'TYPE_FOLDER').map((file) => file.path ?? '')) : undefined
  const inside = files.filter((file) => {
    const parent = parentOf(file.path ?? '')
    return known ? !known.has(parent) : parent === folder
  })
  return sorted(inside.map(entryOf))
}

/** Every file whose path has the text, however it is written. */
export function found(files: RecoveryPointFile[], text: string): Entry[] {
  const wanted = text.toLowerCase()
  return sorted(files.filter((file) => (file.path ?? '').toLowerCase().includes(wanted)).map(entryOf))
}

function sorted(entries: Entry[]): Entry[] {
  return entries.sort((a, b) => Number(b.folder) - Number(a.folder) || (a.path < b.path ? -1 : a.path > b.path ? 1 : 0))
}
