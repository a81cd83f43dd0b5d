"""What could change the verdict, in sentences, each computed from the runs; one that does not apply is not there."""

from compare.findings.findings import Findings
from compare.page.language import joined, say
from compare.page.shown import Shown, by_seeds, named, of_compared, verdict_pair
from compare.page.words import UNREADABLE

MOST_OF_THE_TIME = 0.6  # that a training's threads compute on a quiet machine: 0.8 to 1


def of(found: Findings, shown: list[Shown]) -> list[str]:
    """What could change the answer, beside what the warnings at the top of the page say."""
    _, compared = of_compared(found, shown)
    said = [
        one_seed(shown),
        chosen_by_test_set(compared),
        known_mistakes(compared),
        more_than_pretraining(found, shown),
        different_class_weights(compared),
        different_devices(shown),
        processors_shared(compared),
        files_left_out(shown),
        several_versions(shown),
    ]
    return [caution for caution in said if caution is not None]


def one_seed(shown: list[Shown]) -> str | None:
    """Little is known of other seeds."""
    numbers = {len(group) for group in by_seeds(shown)}
    if not numbers or min(numbers) > 2:
        return None
    few = say("Each run is one seed") if numbers == {1} else say("Some settings were trained with one or two seeds")
    return say(
        "{few}. The interval and the test cover the luck of these test images, not that of training once more: "
        "--seeds 0,1,2 trains three times.",
        few=few,
    )


def chosen_by_test_set(shown: list[Shown]) -> str | None:
    """A side with several strategies has the better chance to have a lucky one."""
    sides = [group[0].record.is_from_scratch for group in by_seeds(shown)]
    if len(sides) == len(set(sides)):
        return None
    return say(
        "The verdict is about the best strategy of each side, and which that is was decided by the test set, which "
        "favours the side with more of them: their validation splits would be fairer."
    )


def known_mistakes(shown: list[Shown]) -> str | None:
    """A recipe that is wrong on purpose."""
    mistaken = [one for one in shown if one.record.recipe.known_mistakes]
    if not mistaken:
        return None
    return say(
        "Mistakes kept on purpose: {runs}. They are listed below; --recipe tuned is without them.",
        runs=joined(named(mistaken, shown)),
    )


def more_than_pretraining(found: Findings, shown: list[Shown]) -> str | None:
    """The sides of the verdict have networks of different architectures, and no control tells these apart."""
    found, compared = of_compared(found, shown)
    pair = verdict_pair(found, compared)
    names = {one.model.name for one in pair}
    sides = {one.record.is_from_scratch for one in pair}
    controls = {one.model.name for one in shown if one.record.is_from_scratch}
    if len(sides) < 2 or len(names) < 2 or names <= controls:
        return None
    differ = [say("network")]
    if len({one.record.recipe.image_size for one in pair}) > 1:
        differ.append(say("image size"))
    return say(
        "The two differ in more than pretraining, also in {differ} and recipe: --recipe from-scratch tells these "
        "apart.",
        differ=joined(differ),
    )


def different_class_weights(shown: list[Shown]) -> str | None:
    """Runs that were taught to mind other mistakes."""
    weighted = [one for one in shown if one.record.recipe.class_weights != "none"]
    if not weighted or len(weighted) == len(shown):
        return None
    return say(
        "{runs} learned with every class counting alike, the others with every image: the former is taught to be right "
        "on rare classes at the cost of common ones, and its confidence is that of a world where all are as common.",
        runs=joined(named(weighted, shown)),
    )


def different_devices(shown: list[Shown]) -> str | None:
    """Times that do not compare."""
    if len({repr(one.computed_on) for one in shown if one.record.device is not None}) < 2:
        return None
    return say("The runs had different devices or numbers of threads, so their times and memory do not compare.")


def times_mislead(shown: list[Shown]) -> bool:
    """Whether their times do not compare."""
    return different_devices(shown) is not None or processors_shared(shown) is not None


def files_left_out(shown: list[Shown]) -> str | None:
    """Files of the folder that no network saw."""
    kinds = next((one.record.data.unreadable for one in shown if one.record.data.unreadable), None)
    if kinds is None:
        return None
    return say(
        "Files of the folder that could not be read as images, and were left out: {number:,} ({kinds}).",
        number=sum(kinds.values()),
        kinds=joined(
            say("{name} {value}", name=UNREADABLE.get(kind, kind), value=f"{number:,}")
            for kind, number in kinds.items()
        ),
    )


def several_versions(shown: list[Shown]) -> str | None:
    """Runs that were not trained by the same program."""
    commits = dict.fromkeys(one.record.commit[:12] for one in shown if one.record.commit)
    if len(commits) < 2:
        return None
    return say(
        "The runs were trained by {number} versions of this program ({commits}); what changed between them may be part "
        "of a difference.",
        number=len(commits),
        commits=joined(commits),
    )


def processors_shared(shown: list[Shown]) -> str | None:
    """Times of trainings that were paused, or that shared the processors with other work."""
    shares = []
    for one in shown:
        seconds, num_threads = one.record.processor_seconds, one.record.num_threads
        on_processor = one.record.device is not None and one.record.device.kind == "cpu"
        if on_processor and seconds is not None and num_threads and one.record.seconds.training:
            num_threads *= one.record.num_processes
            shares.append((seconds / one.record.seconds.training / num_threads, one))
    waited = [(share, one) for share, one in shares if share < MOST_OF_THE_TIME]
    if not waited:
        return None
    return say(
        "Paused, or beside other work: {runs} had the processors for {share:.0%} of the training time, so times say "
        "little about them.",
        runs=joined(named([one for _, one in waited], shown)),
        share=min(share for share, _ in waited),
    )
