// SPDX-License-Identifier: GPL-2.0
// in: channel/queue.rs
//
// A job is written, then committed, once; its fence is signaled once.

fn written_and_committed<H: Host>(
    mut job: Submission<'_, H, ()>,
    new: NewFence<Timeline>,
    entry: Entry,
) -> Result {
    job.push(entry)?;
    job.commit(new, None)?;
    Ok(())
}

fn written_after_the_commit<H: Host>(
    mut job: Submission<'_, H, ()>,
    new: NewFence<Timeline>,
    entry: Entry,
) -> Result {
    job.commit(new, None)?;
    job.push(entry)?; //~ E0382
    Ok(())
}

fn committed_twice<H: Host>(
    job: Submission<'_, H, ()>,
    new: NewFence<Timeline>,
    other: NewFence<Timeline>,
) -> Result {
    job.commit(new, None)?;
    job.commit(other, None)?; //~ E0382
    Ok(())
}

fn the_same_fence_in_two_jobs<'a, H: Host>(
    jobs: [Submission<'a, H, ()>; 2],
    new: NewFence<Timeline>,
) -> Result {
    let [first, second] = jobs;
    first.commit(new, None)?;
    second.commit(new, None)?; //~ E0382
    Ok(())
}

fn signaled_before_it_has_a_number(new: NewFence<Timeline>) {
    new.signal(); //~ E0599
}

fn signaled_twice(job: Job) {
    job.fence.signal();
    job.fence.signal(); //~ E0382
}
