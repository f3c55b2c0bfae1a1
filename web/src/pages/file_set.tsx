// A file set of a host: what it backs up, and what it can be restored from.
import { Button } from '@mantine/core'
import { useMutation, useQuery } from '@tanstack/react-query'
import { useState } from 'react'
import { useNavigate, useParams } from 'react-router'
import { api, body, type Job } from '../api/client'
import { fileSetsQuery, identityQuery } from '../api/queries'
import { idOf } from '../logic/format'
import { can } from '../logic/permissions'
import { Field, Loaded, Notice, Page, Panel, Problem, When } from '../ui/parts'
import { Points } from '../ui/points'

export default function FileSetPage() {
  const { host = '', set = '' } = useParams()
  const name = `hosts/${host}/fileSets/${set}`
  const identity = useQuery(identityQuery)
  const navigate = useNavigate()
  const sets = useQuery(fileSetsQuery)
  const [requestId] = useState(() => crypto.randomUUID())
  const run = useMutation({
    mutationFn: () => body<Job>(api.POST('/v1/jobs', { params: { query: { requestId } }, body: { backup: { fileSets: [name] } } })),
    onSuccess: (job) => navigate(`/jobs/${idOf(job.name)}`),
  })
  return (
    <Page title={`Files: ${set}`} actions={can(identity.data, 'backups.run') && <Button loading={run.isPending} onClick={() => run.mutate()}>Back up now</Button>}>
      {run.error ? <Problem error={run.error} /> : null}
      <Loaded query={sets}>
        {(all) => {
          const known = all.find((one) => one.name === name)
          if (!known) return <Notice tone="warn" title="The host’s agent doesn’t name this file set any more">Its recovery points stay. It is set up in umbra-agent.toml on the host.</Notice>
          return (
            <Panel title="What it is">
              <dl className="fields">
                <Field label="For">{known.displayName || set}</Field>
                <Field label="Folders">{(known.folders ?? []).map((folder) => folder.path).join(', ')}</Field>
                <Field label="While they are copied">{known.hasFreezeHook ? 'a hook makes the service stand still' : 'files are as they happen to be'}</Field>
                <Field label="Last reported"><When value={known.updateTime} /></Field>
              </dl>
            </Panel>
          )
        }}
      </Loaded>
      <Points fileSet={name} empty="There is none: nothing can be restored. Back it up now, or let a policy select it (kind=file-set)." />
    </Page>
  )
}
