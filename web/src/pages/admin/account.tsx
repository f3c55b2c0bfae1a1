import { Button } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { useState } from 'react'
import { userQuery } from '../../api/admin_queries'
import { identityQuery } from '../../api/queries'
import { GrantWords } from '../../ui/grants'
import { Field, Loaded, Page, Panel, When } from '../../ui/parts'
import { PasswordDialog, Sessions, TokenList } from './parts'

export default function Account() {
  const identity = useQuery(identityQuery)
  const person = identity.data?.session !== undefined
  const user = useQuery({ ...userQuery('me'), enabled: person })
  const [asks, setAsks] = useState(false)
  return (
    <Page title="My account" actions={person && <Button size="xs" variant="default" onClick={() => setAsks(true)}>Change my password</Button>}>
      <Panel title="Who I am">
        <Loaded query={user}>
          {(me) => (
            <dl className="fields">
              <Field label="User">{identity.data?.name?.replace('users/', '')}</Field>
              <Field label="Name">{me.displayName || '–'}</Field>
              <Field label="May">{<GrantWords grants={me.grants} />}</Field>
              <Field label="Last signed in"><When value={me.lastSignInTime} /></Field>
            </dl>
          )}
        </Loaded>
      </Panel>
      <TokenList user="me" manage />
      <Sessions user="me" manage />
      {asks && <PasswordDialog user="me" own close={() => setAsks(false)} />}
    </Page>
  )
}
