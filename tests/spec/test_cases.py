"""Runs every case of cases/*.cases, see casefile.py."""

import glob
import os

import pytest
import casefile

HERE = os.path.dirname(__file__)


def all_cases():
    for path in sorted(glob.glob(os.path.join(HERE, "cases", "*.cases"))):
        group = os.path.basename(path)[:-len(".cases")]
        for case in casefile.read_cases(path):
            yield pytest.param(case, id=f"{group}: {case.title}")


@pytest.fixture(scope="session")
def world(shared_broker):
    """The vhost and the users the cases speak of."""
    if not shared_broker.can_admin:
        pytest.skip("needs users and a vhost")
    shared_broker.add_vhost("spec")
    shared_broker.add_user("lim", "lim", "spec", ("^ok", "^ok", "^ok"))
    shared_broker.ctl("set_topic_permissions", "-p", "spec", "lim", "okx", "^a", "^a")


@pytest.mark.parametrize("case", all_cases())
def test_case(case, world, connect, broker):
    if case.only and case.only[0] != broker.kind:
        pytest.skip(f"only {case.only[0]}: {case.only[1]}")
    casefile.Run(case, connect).go()
