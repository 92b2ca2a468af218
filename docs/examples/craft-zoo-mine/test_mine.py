from craft_zoo.optimizers.testing import check_optimizer


def test_mine_keeps_the_rules():
    check_optimizer("mine")
    check_optimizer("mine:sigma=0.1")
