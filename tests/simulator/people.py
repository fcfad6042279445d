"""The people of a seed: clients who ask, ask again and cancel, and an operator who is busy meanwhile."""

from __future__ import annotations

from collections.abc import Callable

from django.db.models import QuerySet

from accounts.identifiers import public_id
from accounts.ledger import budgets
from accounts.ledger.models import Wallet
from generation.channels.models import Channel
from generation.contract import GenerationRequest, ReferenceInput
from generation.models import Generation, ImageModel, Output, Price
from tests.simulator.day import IMAGE_PRICE_MICROS
from tests.simulator.stage import Move, Stage
from tests.simulator.world import ACCOUNTS, CHANNELS, MODES, Wish

SLOW_PROMPT = "a harbour at night"
_MAX_REPETITIONS = 5


class Clients:
    """They have a number of wishes. Some name a key and ask again under it, also while they are being served."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._world, self._dice, self._note = stage.world, stage.dice, stage.note
        self.wishes_left = stage.day.wish_count

    def moves(self) -> dict[str, Move]:
        return {"ask": self._ask, "ask again": self._ask_again, "cancel": self._cancel}

    def _ask(self) -> bool:
        process = self._stage.able()
        if process is None or not self.wishes_left:
            return False
        self.wishes_left -= 1
        wish = self._wish()
        self._world.wishes.append(wish)
        self._note(f"w{wish.number} asks {process.name} for {wish.request.n} x {wish.request.image_size}, {wish.key!r}")
        self._stage.resume(self._world.ask(process, wish))
        return True

    def _wish(self) -> Wish:
        dice = self._dice
        requester = self._world.requesters[dice.choice(ACCOUNTS), dice.choice(MODES)]
        finished = Output.objects.filter(account=requester.account, mode=requester.mode, state="succeeded")
        earlier = list(finished.order_by("pk").values_list("pk", flat=True)) if dice.random() < 0.3 else []
        chosen = public_id("out", dice.choice(earlier)) if earlier else ""
        is_continued = dice.random() < 0.5
        request = GenerationRequest(
            prompt=dice.choice(("a lighthouse", SLOW_PROMPT)),
            n=dice.choice((1, 1, 2, 4)),
            image_size=dice.choice(("1K", "2K", "4K")),
            previous=chosen if is_continued else "",
            references=(ReferenceInput(output=chosen),) if chosen and not is_continued else (),
        )
        number = len(self._world.wishes) + 1
        key = dice.choice(("", f"key-{number}", f"key-{number}", "shared"))
        return Wish(number, requester, request, key)

    def _ask_again(self) -> bool:
        """The same request under the same key: after no answer, after an answer, or while the first is on its way."""
        keyed = [each for each in self._world.wishes if each.key and each.asked_count < _MAX_REPETITIONS]
        process = self._stage.able()
        if not keyed or process is None:
            return False
        wish = self._dice.choice(keyed)
        self._note(f"w{wish.number} asks {process.name} again")
        self._stage.resume(self._world.ask(process, wish))
        return True

    def ask_for_every_answer(self) -> None:
        """Whoever has a key and was never answered asks once more, and now hears what became of it."""
        for wish in self._world.wishes:
            if wish.key and wish.unanswered_count and not (wish.generation_ids or wish.refusals):
                self._note(f"w{wish.number} asks once more")
                self._stage.resume(self._world.ask(self._world.machine.processes[0], wish))

    def _cancel(self) -> bool:
        accepted = [each for each in self._world.wishes if each.generation_ids]
        process = self._stage.able()
        if not accepted or process is None:
            return False
        wish = self._dice.choice(accepted)
        generation = Generation.objects.get(pk=self._dice.choice(sorted(wish.generation_ids)))
        self._note(f"w{wish.number} cancels")
        self._stage.resume(self._world.cancel(process, wish, generation))
        return True


class Operator:
    """Does at any moment what an operator does in the admin."""

    def __init__(self, stage: Stage) -> None:
        self._world, self._dice, self._note = stage.world, stage.dice, stage.note
        self._acts: dict[str, Callable[[], None]] = {
            "clears a channel": self._clear_channel,
            "switches a channel": self._switch_channel,
            "grants money": self._grant,
            "freezes a wallet or thaws it": self._freeze_wallet,
            "changes a price": self._change_price,
            "changes a budget": self._change_budget,
        }

    def moves(self) -> dict[str, Move]:
        return {"operator": self._act}

    def _act(self) -> bool:
        name = self._dice.choice(list(self._acts))
        self._note(f"the operator {name}")
        self._acts[name]()
        return True

    def _channel(self) -> QuerySet[Channel]:
        return Channel.objects.filter(name=self._dice.choice(CHANNELS)[0])

    def _clear_channel(self) -> None:
        self._channel().update(disabled_reason="", failures_in_a_row=0, cool_until=None, model_health={})

    def _switch_channel(self) -> None:
        channel = self._channel()
        channel.update(is_enabled=not channel.get().is_enabled)

    def _grant(self) -> None:
        requester = self._world.requesters["poor", self._dice.choice(MODES)]
        self._world.grant(requester.account, requester.mode, IMAGE_PRICE_MICROS)

    def _freeze_wallet(self) -> None:
        """A frozen wallet takes no holds; what is under way settles."""
        requester = self._world.requesters["rich", self._dice.choice(MODES)]
        wallet = Wallet.objects.filter(account=requester.account, mode=requester.mode)
        wallet.update(status="active" if wallet.get().status == "frozen" else "frozen")

    def _change_price(self) -> None:
        """What was quoted counts, whatever an image costs by the time it comes."""
        Price.objects.get_or_create(
            image_model=ImageModel.objects.get(is_default=True),
            image_size=self._dice.choice(("1K", "2K", "4K")),
            valid_from=self._world.clock.now,
            defaults={"image_micros": self._dice.randint(1, 300_000), "reference_micros": 1_100},
        )

    def _change_budget(self) -> None:
        api_key = self._world.requesters["capped", self._dice.choice(MODES)].api_key
        assert api_key is not None
        micros = self._dice.randint(0, 8) * IMAGE_PRICE_MICROS
        budgets.change(api_key, budget_micros=micros, now=self._world.clock.now)
        api_key.refresh_from_db()
