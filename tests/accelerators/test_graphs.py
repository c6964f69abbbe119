"""The table of graphs: every shipped file is in it, once, and every choice of a config occurs."""

import typing

from tests.accelerators import graphs
from vim_tf import config as configs


def test_every_shipped_training_is_in_the_table_once():
    listed = [name for names in graphs.SHIPPED.values() for name in names]
    assert sorted(listed) == sorted(graphs.trainings())


def test_files_share_a_graph_exactly_where_the_table_says_so():
    found = {}
    for name, config in graphs.trainings().items():
        found.setdefault(graphs.small(config), set()).add(name)
    assert sorted(map(sorted, found.values())) == sorted(map(sorted, graphs.SHIPPED.values()))


def test_every_choice_of_a_field_occurs_in_a_graph():
    left = {}
    for graph in graphs.GRAPHS:
        config = graphs.config_of(graph)
        for name, field in configs.leaves(type(config)):
            if typing.get_origin(field.type) is typing.Literal and not graphs.is_fixed(name):
                left.setdefault(name, set(typing.get_args(field.type))).discard(configs.get(config, name))
    assert {name: choices for name, choices in left.items() if choices} == {}
