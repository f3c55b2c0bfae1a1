// VSS writers as `vssadmin list writers` says them.
import type { Writer } from '../api/client'
import type { Tone } from './jobs'

// Numbers and words of VSS_WRITER_STATE.
const STATES: Record<string, [number, string]> = {
  UNKNOWN: [0, 'Unknown'], STABLE: [1, 'Stable'], WAITING_FOR_FREEZE: [2, 'Waiting for freeze'], WAITING_FOR_THAW: [3, 'Waiting for thaw'],
  WAITING_FOR_POST_SNAPSHOT: [4, 'Waiting for post-snapshot'], WAITING_FOR_BACKUP_COMPLETE: [5, 'Waiting for completion'],
  FAILED_AT_IDENTIFY: [6, 'Failed at identify'], FAILED_AT_PREPARE_BACKUP: [7, 'Failed at prepare backup'], FAILED_AT_PREPARE_SNAPSHOT: [8, 'Failed at prepare snapshot'],
  FAILED_AT_FREEZE: [9, 'Failed at freeze'], FAILED_AT_THAW: [10, 'Failed at thaw'], FAILED_AT_POST_SNAPSHOT: [11, 'Failed at post-snapshot'],
  FAILED_AT_BACKUP_COMPLETE: [12, 'Failed at backup complete'], FAILED_AT_PRE_RESTORE: [13, 'Failed at pre-restore'],
  FAILED_AT_POST_RESTORE: [14, 'Failed at post-restore'], FAILED_AT_BACKUPSHUTDOWN: [15, 'Failed at backup shutdown'],
}

/** "[1] Stable". */
export function writerState(writer: Writer): { text: string; tone: Tone } {
  const known = STATES[writer.state ?? '']
  const [number, word] = known ?? [0, writer.state || 'Unknown']
  const tone = number === 1 ? 'good' : number >= 6 ? 'bad' : number === 0 ? 'idle' : 'busy'
  return { text: `[${number}] ${word}`, tone }
}

/** "No error", or the name of the last failure with its code. */
export function writerError(writer: Writer): string {
  const code = writer.lastFailureCode ?? 0
  return code === 0 ? 'No error' : `${writer.lastFailure || 'Error'} (0x${code.toString(16)})`
}

/** The same text as on the host, for tickets and searches. */
export function asVssadmin(writers: Writer[]): string {
  return writers.map((writer) => [
    `Writer name: '${writer.displayName ?? ''}'`, `   Writer Id: {${writer.writerId ?? ''}}`, `   Writer Instance Id: {${writer.instanceId ?? ''}}`,
    `   State: ${writerState(writer).text}`, `   Last error: ${writerError(writer)}`,
  ].join('\n')).join('\n\n')
}
