import { Text } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { Link } from 'react-router'
import { identityQuery } from '../../api/queries'
import { canEverywhere } from '../../logic/permissions'
import { Page } from '../../ui/parts'
import { TokenList } from './parts'

export default function Tokens() {
  const identity = useQuery(identityQuery)
  return (
    <Page title="Everybody’s tokens">
      <Text size="sm">A token is made on the page of <Link to="/admin/users">its user</Link>, one’s own on <Link to="/admin/account">my account</Link>.</Text>
      <TokenList user="-" manage={canEverywhere(identity.data, 'users.manage')} />
    </Page>
  )
}
